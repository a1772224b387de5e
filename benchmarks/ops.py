"""Times each native operation of text_classifier/ops against torch's own, on one thread of this CPU.

    make bench-ops OPTIONS=--only-avx2

Needs the image's packages and nothing else. README.md shows the results.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: put the repository on the path instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import ONLY_AVX2, ROOT

#: Width and heads of the layers: MiniLM, and DistilBERT or BERT base.
SHAPES = ((384, 12), (768, 12))
#: Lengths of the sequences; a batch has TOKENS of them in all.
LENGTHS = (16, 64, 128, 256, 512)
TOKENS = 2048
DROPOUT = 0.1
#: Calls of each, in turn; the fastest counts, as other load on the machine only adds.
CALLS = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/ops.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only-avx2", action="store_true", help="as on a CPU without AVX-512, AMX and 16 bits")
    parser.add_argument("--commit", default="not given", help="commit to name in the report")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "ops.json")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"} | (ONLY_AVX2 if options.only_avx2 else {})  # before torch is imported
    sys.path.insert(0, str(ROOT / "code"))
    from benchmarks import sidelights

    about = sidelights.conditions(options.commit) | {"tokens": TOKENS}
    report = {"about": about, "operations": list(measure())}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.output}")


def measure() -> Iterator[dict[str, Any]]:
    """Milliseconds of each operation, native and by torch. Prints each result."""
    import torch

    from text_classifier.ops import reference
    from text_classifier.ops.backend import TORCH
    from text_classifier.ops.cpu import bindings
    from text_classifier.ops.processor import has_bf16

    for dtype in (torch.float32, *([torch.bfloat16] if has_bf16() else [])):
        plain = reference.backend(torch.device("cpu"), dtype)
        native, rival = bindings.backend(plain, dtype), torchs_own(plain)
        for width, heads in SHAPES:
            for name, case, calls in cases(width, heads, dtype):
                if native.names[name] == TORCH:
                    continue
                for call, make in calls.items():
                    ours, torchs = fastest(make(native), make(rival))
                    found = {
                        "operation": name, "case": case, "dtype": str(dtype).removeprefix("torch."), "call": call,
                        "library": native.names[name], "native_ms": 1e3 * ours, "torch_ms": 1e3 * torchs,
                    }  # fmt: skip
                    print(
                        f"{name}, {case}, {found['dtype']}, {call}: {found['library']} {found['native_ms']:.2f} ms, "
                        f"torch {found['torch_ms']:.2f} ms, {torchs / ours:.2f} times",
                        flush=True,
                    )
                    yield found


def torchs_own(plain: Any) -> Any:
    """The back end that a PyTorch user would write: the reference without its own random numbers."""
    import torch
    from torch.nn import functional

    from text_classifier.ops.sequences import split_qkv

    def attention(query: Any, qkv: Any, sequences: Any, heads: int, dropout_p: float) -> Any:
        keys = sequences.cu_seqlens.diff().tolist()
        queries = keys if query is None else [1] * len(keys)
        parts = [
            part.unflatten(1, (heads, -1)).transpose(0, 1).split(lengths, 1)
            for part, lengths in zip(split_qkv(query, qkv), (queries, keys, keys), strict=True)
        ]
        attended = [
            functional.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout_p)[0]
            for q, k, v in zip(*parts, strict=True)
        ]
        return torch.cat(attended, 1).transpose(0, 1).flatten(1)

    def add_and_norm(update: Any, bias: Any, residual: Any, norm: Any, dropout_p: float, rows_before: int = 0) -> Any:
        dropped = functional.dropout(update.float() + bias, dropout_p)
        return norm(residual.float() + dropped).to(update.dtype)

    def dropout(x: Any, dropout_p: float, rows_before: int = 0) -> Any:
        return functional.dropout(x, dropout_p)

    own = replace(plain, add_and_norm=add_and_norm, dropout=dropout)
    return own if plain.is_asynchronous else replace(own, attention=attention)  # on a GPU plain torch's is packed, too


def cases(width: int, heads: int, dtype: Any) -> Iterator[tuple[str, str, dict[str, Callable[[Any], Any]]]]:
    """Operation, description of the input, and for each way to call it what makes the call, given a back end."""
    import numpy as np
    import torch

    from text_classifier.ops.sequences import Sequences

    def random(*shape: int, dtype: Any = dtype, grad: bool = True) -> Any:
        return torch.randn(*shape).to(dtype).requires_grad_(grad)

    def calls(apply: Callable[[Any, float], Any]) -> dict[str, Callable[[Any], Any]]:
        def forward(ops: Any) -> Callable[[], Any]:
            return torch.no_grad()(lambda: apply(ops, 0.0))

        def training(ops: Any) -> Callable[[], Any]:
            gradient = torch.randn_like(apply(ops, DROPOUT))
            return lambda: apply(ops, DROPOUT).backward(gradient)

        return {"forward": forward, "training": training}

    for length in LENGTHS:
        sequences = Sequences.from_lengths(np.full(TOKENS // length, length))
        qkv = random(TOKENS, 3 * width)
        yield (
            "attention", f"{heads} heads of {width // heads}, {length} tokens",
            calls(lambda ops, p, qkv=qkv, it=sequences: ops.attention(None, qkv, it, heads, p)),  # type: ignore[misc]
        )  # fmt: skip
    x, residual, bias = random(TOKENS, width), random(TOKENS, width), random(width, dtype=torch.float32)
    norm = torch.nn.LayerNorm(width)
    yield "add_and_norm", f"width {width}", calls(lambda ops, p: ops.add_and_norm(x, bias, residual, norm, p))
    inner, inner_bias = random(TOKENS, 4 * width), random(4 * width, dtype=torch.float32)
    yield "gelu", f"width {4 * width}", calls(lambda ops, _: ops.gelu(inner, inner_bias))
    yield "dropout", f"width {width}", {"training": calls(lambda ops, p: ops.dropout(x, p))["training"]}
    d_output = random(TOKENS, 4 * width, grad=False)
    yield "bias_grad", f"width {4 * width}", {"training": lambda ops: lambda: ops.bias_grad(d_output)}
    rows = random(TOKENS, width, grad=False)
    yield "weight_grad", f"{width} to {4 * width}", {"training": lambda ops: lambda: ops.weight_grad(d_output, rows)}


def fastest(*calls: Callable[[], Any]) -> list[float]:
    """The CPU-seconds of the fastest of several calls of each, in turn."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(CALLS):
        for call, taken in zip(calls, seconds, strict=True):
            started = time.process_time()
            call()
            taken.append(time.process_time() - started)
    return [min(taken) for taken in seconds]


if __name__ == "__main__":
    main()
