"""Tests that need a GPU: `make test-gpu`, or plain pytest where torch and transformers are installed."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def own_stream() -> None:
    """As in a job (training/device.py)."""
    torch.cuda.set_stream(torch.cuda.Stream())


@pytest.fixture(autouse=True)
def exact_matmuls() -> None:
    """fp32 is fp32."""
    torch.set_float32_matmul_precision("highest")
