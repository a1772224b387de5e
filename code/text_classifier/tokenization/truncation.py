"""Which tokens of a long text are kept. Tokenizers keep the first ones by themselves (or the last, by their own
`truncation_side`); for `truncation=tail` and `head_tail` texts are encoded whole, and cut here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

from transformers import PreTrainedTokenizerBase

from text_classifier.contract.hyperparameters import Settings
from text_classifier.tokenization.prefix import Encode, Encoded, encoded
from text_classifier.tokenization.special_tokens import around

#: Characters that are encoded whole at a time: a token takes some 200 bytes until it is cut off.
CHARACTERS = 1 << 20

#: Of `head_tail`, the share of the tokens that are kept from the beginning: 128 of 510 in Sun et al. 2019 (How to
#: Fine-Tune BERT for Text Classification?), the best of what they compare.
HEAD_SHARE = 0.25


def cutting_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str) -> Encode:
    """An encoder that keeps the tokens that `truncation` says, `tail` or `head_tail`, and all special tokens.

    Threads may call it at once. Raises SettingsError if the tokenizer has no special tokens around its texts.
    """
    before, after = map(len, around(tokenizer, f"truncation={truncation}", "truncation=head"))
    return partial(encode_cut, tokenizer, max_length=max_length, truncation=truncation, before=before, after=after)


def choose_side(tokenizer: PreTrainedTokenizerBase, settings: Settings) -> str:
    """Let whoever loads the saved tokenizer truncate as the job did. Returns a note for the log, or nothing."""
    if settings.truncation == "tail":
        tokenizer.truncation_side = "left"
    elif settings.truncation == "head_tail" or settings.long_texts == "mean":
        tokenizer.truncation_side = "right"
    elif tokenizer.truncation_side == "left":
        return "NOTE: the model's tokenizer has truncation_side=left: it keeps the last tokens of long texts"
    return ""


def encode_cut(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_length: int,
    truncation: str,
    before: int,
    after: int,
) -> Encoded:
    """As the encoder of `cutting_encoder`. `before`, `after`: numbers of special tokens around a text."""
    kept = max_length - before - after
    head = math.ceil(HEAD_SHARE * kept) if truncation == "head_tail" else 0
    start, end = before + head, kept - head + after
    rows: list[list[int]] = []
    truncated = 0
    for part in parts(texts):
        found = tokenizer(part, return_attention_mask=False, return_token_type_ids=False, verbose=False)["input_ids"]
        truncated += sum(len(ids) > max_length for ids in found)
        rows += [ids if len(ids) <= max_length else ids[:start] + ids[len(ids) - end :] for ids in found]
    return encoded(rows, truncated)


def parts(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in parts of CHARACTERS, or of a longer text."""
    part: list[str] = []
    characters = 0
    for text in texts:
        if part and characters + len(text) > CHARACTERS:
            yield part
            part, characters = [], 0
        part.append(text)
        characters += len(text)
    if part:
        yield part
