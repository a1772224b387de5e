from __future__ import annotations

import pytest
import torch

from text_classifier.ops import processor

AVX2 = {"avx2": True}
AVX512 = AVX2 | {"avx512_f": True}


@pytest.mark.parametrize(
    ("capabilities", "level", "sets", "has_bf16", "is_faster"),
    [
        ({}, "DEFAULT", [], False, False),
        (AVX2, "AVX2", ["avx2"], False, False),
        (AVX512, "AVX512", ["avx512", "avx2"], False, False),
        (AVX512 | {"avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R)"}, "AVX512", ["avx512", "avx2"], True, False),
        (AVX512 | {"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "AVX512", ["avx512", "avx2"], True, True),
        (AVX512 | {"amx_bf16": True}, "AVX512", ["amx", "avx512", "avx2"], True, True),
        (AVX512 | {"amx_bf16": True}, "AVX2", ["avx2"], False, False),
    ],
)
def test_what_a_cpu_can_do(
    capabilities: dict[str, bool | str], level: str, sets: list[str], has_bf16: bool, is_faster: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    assert processor.instruction_sets() == sets
    assert (processor.has_bf16(), processor.is_bf16_faster()) == (has_bf16, is_faster)
    assert processor.has_onednn() == (level != "DEFAULT")
