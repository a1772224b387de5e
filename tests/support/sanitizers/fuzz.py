"""Random input for the sanitized libraries: python -m support.sanitizers.fuzz TARGET FOLDER SECONDS SEED.

The sanitizers end the process at the first mistake. Results are compared with torch's and the tokenizers library's.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from text_classifier.ops import reference
from text_classifier.ops.cpu import bindings
from text_classifier.ops.processor import instruction_sets
from text_classifier.ops.selftest import Shape, failing
from text_classifier.tokenization import wordpiece
from text_classifier.tokenization.prefix import Encoded, prefix_encoder

CPU = torch.device("cpu")
ENDS = ["[CLS]", "[SEP]"]


def kernels(folder: Path, rounds: Iterator[random.Random]) -> None:
    """Every operation of every library that this processor can run, at random shapes."""
    libraries = [(name, _kernels(folder, name)) for name in instruction_sets()]
    for chance in rounds:
        library = chance.choice(libraries)
        bindings._library = lambda library=library: library  # type: ignore[misc]
        dtype = chance.choice([torch.float32, torch.bfloat16, torch.float16])
        heads, head_width = chance.randint(1, 5), chance.choice([1, 3, 8, 16, 20, 33, 64, 80])
        shape = Shape(
            heads=heads,
            width=heads * head_width,
            inner_width=chance.randint(1, 300),
            norm_widths=(chance.randint(2, 300),),
            dropouts=(chance.choice([0.0, 0.1, 0.9]),),
            max_seqlens=(chance.randint(1, 128),),
        )
        # Sums of random numbers may cancel, so that single differences say nothing; many do.
        failures = failing(bindings.backend(reference.backend(CPU, dtype), dtype), CPU, dtype, shape)
        if len(failures) > 2:
            raise AssertionError(f"{dtype} {shape}: {failures}")


def _kernels(folder: Path, processor: str) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / f"kernels-{processor}.so"))
    assert library.prepare()
    return library


def tokenizer(folder: Path, rounds: Iterator[random.Random]) -> None:
    """Random vocabularies and texts, control characters and others than ASCII among them."""
    wordpiece.library_path = lambda name: folder / f"{name}.so"  # type: ignore[assignment]
    for chance in rounds:
        letters = chance.sample("abcdefgh0123.,!#-'", chance.randint(1, 12))
        words = {chance.choice(["", "##"]) + _text(chance, letters, 5) for _ in range(chance.randint(0, 60))}
        tokens = ["[UNK]", *ENDS, *sorted(words - {"", "##"})]
        backend = Tokenizer(models.WordPiece({token: id for id, token in enumerate(tokens)}, unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(lowercase=chance.random() < 0.5)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
        whole = PreTrainedTokenizerFast(
            tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        )
        length = chance.randint(3, 40)
        expected = prefix_encoder(whole, length)
        assert expected is not None
        native = wordpiece._Native(json.loads(whole.backend_tokenizer.to_str()), [1, 2])
        anything = [*letters, *" \t\n\0\x07\x7f", *"AZ[]{}~\u00df\u0301\u6587", *ENDS]
        for _ in range(20):
            texts = [_text(chance, chance.choice([letters, anything]), 400) for _ in range(chance.randint(0, 9))]
            found, right = native.encode(texts, length), expected(texts).lists()
            is_done = found.counts >= 0
            own = Encoded(found.ids, found.counts[is_done], 0).lists()
            assert own == [ids for ids, done in zip(right, is_done.tolist(), strict=True) if done], (tokens, texts)


def _text(chance: random.Random, parts: list[str], most: int) -> str:
    return "".join(chance.choices(parts, k=chance.randint(0, chance.choice([3, most]))))


def overflow(folder: Path, rounds: Iterator[random.Random]) -> None:
    """A kernel that is told of one row more than there is, which the sanitizer must notice."""
    bindings._library = lambda: ("avx2", _kernels(folder, "avx2"))  # type: ignore[assignment]
    bindings._kernel("sum_rows", torch.float32)(torch.zeros(3, 40), torch.zeros(40), 4, 40)


def until(seconds: float, seed: int) -> Iterator[random.Random]:
    """One source of randomness after the other, until the time is over; each is named, so that it can be repeated."""
    ended, count = time.monotonic() + seconds, 0
    while time.monotonic() < ended:
        print(f"round {seed + count}", file=sys.stderr, flush=True)
        torch.manual_seed(seed + count)
        yield random.Random(seed + count)
        count += 1
    print(f"{count} rounds", flush=True)


TARGETS: dict[str, Callable[[Path, Iterator[random.Random]], None]] = {
    "kernels": kernels, "wordpiece": tokenizer, "overflow": overflow,
}  # fmt: skip

if __name__ == "__main__":
    name, folder, seconds, seed = sys.argv[1:]
    TARGETS[name](Path(folder), until(float(seconds), int(seed)))
