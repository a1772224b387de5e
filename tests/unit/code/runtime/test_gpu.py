from __future__ import annotations

from pathlib import Path

import pytest

from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.runtime import gpu

CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Wed Sep 17 16:18:22 UTC 2025\nGCC version:  gcc 12.3.0\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22)\nGCC version:\n"


@pytest.fixture
def compat(tmp_path: Path) -> Path:
    folder = tmp_path / "compat"
    folder.mkdir()
    for name in ("libcuda.so", "libcuda.so.1", "libcuda.so.580.95.05", "libnvidia-nvvm.so.580.95.05"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("text", [CLOSED, OPEN])
@pytest.mark.parametrize(
    ("driver", "is_needed"),
    [("535.183.01", True), ("570.172.08", True), ("580.65.06", True), ("580.95.05", False), ("590.10", False)],
)
def test_the_compat_library_is_for_older_drivers_alone(
    tmp_path: Path, compat: Path, text: str, driver: str, is_needed: bool
) -> None:
    version = tmp_path / "version"
    version.write_text(text.format(driver))
    assert gpu.compat_folder(version, compat) == (compat if is_needed else None)


@pytest.mark.parametrize(("driver", "has_library", "needed"), [("470.57.02", True, 535), ("570.86.15", False, 580)])
def test_a_driver_that_is_too_old_is_a_sentence(
    tmp_path: Path, compat: Path, driver: str, has_library: bool, needed: int
) -> None:
    version = tmp_path / "version"
    version.write_text(CLOSED.format(driver))
    with pytest.raises(PlatformError, match=f"driver {driver} is too old .* needs {needed} or newer; .*ml.g4dn"):
        gpu.compat_folder(version, compat if has_library else tmp_path / "none")


def test_without_the_library_a_new_driver_will_do(tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text(CLOSED.format("580.65.06"))
    assert gpu.compat_folder(version, tmp_path / "none") is None
    assert gpu.compat_folder(tmp_path / "no driver", tmp_path / "none") is None


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '8.0\\n8.0\\n12.0\\n'\n")
    program.chmod(0o755)
    return program


def test_capabilities(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpu.capabilities()
    assert found == [(8, 0), (8, 0), (12, 0)]
    gpu.require_supported(found)
    assert gpu.count(found) == 3
    for named, count in (
        ("0", 1), ("0, 2", 2), ("", 0), ("0,1,2,3", 3), ("-1", 0), ("0,-1,1", 1), ("7", 0), ("GPU-8a3,GPU-11f", 2),
        ("NoDevFiles", 0),
    ):  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert gpu.count(found) == count


def test_a_host_without_gpus(nvidia_smi: Path) -> None:
    nvidia_smi.unlink()
    assert gpu.capabilities() == []


def test_a_driver_that_does_not_answer(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    with pytest.raises(PlatformError, match="GPUs cannot be used: nvidia-smi: Failed to initialize NVML: Driver"):
        gpu.capabilities()


@pytest.mark.parametrize("capability", [(3, 7), (7, 0), (7, 2)])
def test_old_generations_are_refused(capability: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="CUDA 13 does not support this instance's GPUs .sm_.., .*; use an"):
        gpu.require_supported([(8, 0), capability])
