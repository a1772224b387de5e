"""Random inputs of kernels, and their exact results, in fp64."""

from __future__ import annotations

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ERROR = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype).requires_grad_()


def assert_near(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    difference = (actual.double() - expected).abs().max() / expected.abs().max()
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
    """Attention sequence by sequence; `mask` is multiplied with the probabilities."""
    parts = [part.unflatten(1, (heads, -1)).split(lengths) for part in qkv.chunk(2 if query is not None else 3, 1)]
    queries = query.unflatten(1, (heads, -1)).split(1) if query is not None else parts[0]
    outputs = []
    for query_rows, key, value in zip(queries, *parts[-2:], strict=True):
        probs = torch.einsum("qhw,khw->hqk", query_rows, key).mul(query_rows.shape[-1] ** -0.5).softmax(-1)
        outputs.append(torch.einsum("hqk,khw->qhw", probs if mask is None else probs * mask, value).flatten(1))
    return torch.cat(outputs)
