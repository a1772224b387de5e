"""Pairs of texts, as the model's tokenizer encodes them: `[CLS] a [SEP] b [SEP]`, the longer text truncated first.

The tokenizers library also makes all overflowing combinations of two truncated texts, which takes time and memory
quadratic in their length: 38 s and 7 GB for two texts of 80 KB. Pairs are therefore encoded whole, and cut here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from transformers import PreTrainedTokenizerBase

from text_classifier.contract.errors import SettingsError, printable
from text_classifier.reading.pairs import segments
from text_classifier.tokenization.prefix import Encode, Encoded, encoded
from text_classifier.tokenization.truncation import parts


def arguments(texts: Sequence[str], *, is_pair: bool) -> tuple[list[str], ...]:
    """The arguments of a tokenizer for texts, or for pairs as in reading/pairs.py."""
    if not is_pair:
        return (list(texts),)
    both = [segments(text) for text in texts]
    return [first for first, _ in both], [second for _, second in both]


def pair_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encode:
    """An encoder of pairs with the ids and token types of `tokenizer(first, second, truncation="longest_first")`.

    Threads may call it at once. Raises SettingsError if the tokenizer cannot encode pairs, or has other token types
    than BERT's.
    """
    return partial(encode_pairs, tokenizer, max_length=max_length, is_typed=has_types(tokenizer))


def has_types(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether pairs have tokens of type 1 that a model of this tokenizer reads. Raises SettingsError as above."""
    try:
        types = tokenizer(["a"], ["b"], return_token_type_ids=True)["token_type_ids"][0]
    except Exception as error:  # whatever a tokenizer raises that has no pairs
        raise SettingsError(
            f"the model's tokenizer cannot encode pairs of texts ({printable(str(error))[:300]}); use another model, "
            "or join the texts: name all columns in text_columns"
        ) from None
    if "token_type_ids" not in tokenizer.model_input_names:
        return False
    if types != sorted(types) or not {*types} <= {0, 1}:
        raise SettingsError(
            "the model's tokenizer gives the tokens of a pair other types than 0 for the first text and 1 for the "
            "second; use a model of the BERT family"
        )
    return any(types)


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[str], *, max_length: int | None, is_typed: bool
) -> Encoded:
    """As the encoder of `pair_encoder`; without `max_length` nothing is truncated."""
    if not tokenizer.is_fast:
        return _by_python(tokenizer, pairs, max_length, is_typed=is_typed)
    rows: list[list[int]] = []
    second: list[int] = []
    truncated = 0
    for part in parts(pairs):
        for encoding in tokenizer(*arguments(part, is_pair=True), verbose=False).encodings or ():
            ids, types = encoding.ids, encoding.type_ids
            if max_length is not None and len(ids) > max_length:
                kept = _kept(encoding.sequence_ids, max_length, tokenizer.truncation_side)
                ids, types = [ids[index] for index in kept], [types[index] for index in kept]
                truncated += 1
            rows.append(ids)
            second.append(_second(types))
    found = encoded(rows, truncated)
    return Encoded(found.ids, found.counts, truncated, second=np.array(second) if is_typed else None)


def longest_first(first: int, second: int, most: int) -> tuple[int, int]:
    """How many tokens are kept of two texts of more than `most` tokens together, as the tokenizers library does it.

    Those of the longer text are dropped until both are equally long, then those of both; the longer one, or of equals
    the second, keeps the odd token.
    """
    shorter = min(first, second, most // 2)
    return (most - shorter, shorter) if first > second else (shorter, most - shorter)


def _kept(sequences: Sequence[int | None], max_length: int, side: str) -> list[int]:
    """The indices of the tokens that are kept. `sequences`: the text of each token, None for a special token."""
    texts = [[index for index, sequence in enumerate(sequences) if sequence == number] for number in (0, 1)]
    first, second = map(len, texts)
    kept = longest_first(first, second, max_length - (len(sequences) - first - second))
    dropped = set[int]()
    for text, count in zip(texts, kept, strict=True):
        dropped.update(text[count:] if side == "right" else text[: len(text) - count])
    return [index for index in range(len(sequences)) if index not in dropped]


def _second(types: list[int]) -> int:
    """The index of the first token of type 1."""
    return types.index(1) if 1 in types else len(types)


def _by_python(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[str], max_length: int | None, *, is_typed: bool
) -> Encoded:
    """By a tokenizer of Python code. It does not report truncation: rows of full length count as truncated."""
    found = tokenizer(
        *arguments(pairs, is_pair=True),
        truncation="longest_first" if max_length is not None else False,
        max_length=max_length,
        return_token_type_ids=is_typed,
        verbose=False,
    )
    rows = encoded(found["input_ids"], 0)
    truncated = 0 if max_length is None else int((rows.counts >= max_length).sum())
    second = np.array([_second(types) for types in found["token_type_ids"]]) if is_typed else None
    return Encoded(rows.ids, rows.counts, truncated, second=second)
