"""Random numbers for kernels, and what is exact: fp64."""

from __future__ import annotations

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ERROR = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype).requires_grad_()


def assert_near(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    difference = (found.double() - expected).abs().max() / expected.abs().max()
    assert difference < ERROR[dtype], float(difference)


def exact(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def attended(
    qkv: torch.Tensor,
    query: torch.Tensor | None,
    lengths: list[int],
    heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """What attention is, sequence by sequence; weights are multiplied by `mask`."""
    parts = [part.unflatten(1, (heads, -1)).split(lengths) for part in qkv.chunk(2 if query is not None else 3, 1)]
    queries = query.unflatten(1, (heads, -1)).split(1) if query is not None else parts[0]
    outputs = []
    for own, key, value in zip(queries, *parts[-2:], strict=True):
        weights = torch.einsum("qhw,khw->hqk", own, key).mul(own.shape[-1] ** -0.5).softmax(-1)
        outputs.append(torch.einsum("hqk,khw->qhw", weights if mask is None else weights * mask, value).flatten(1))
    return torch.cat(outputs)
