"""The host's GPUs and their driver, checked before torch is imported."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path

from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.contract.sagemaker import GPU_FAMILIES

#: The oldest GPUs that the CUDA 13 wheels of torch support: Turing (T4).
OLDEST_CAPABILITY = (7, 5)

#: CUDA 13 needs driver 580, or 535 with its compatibility library, on data-center GPUs.
#: https://docs.nvidia.com/deploy/cuda-compatibility/
NATIVE_DRIVER = (580,)
OLDEST_DRIVER = (535,)

DRIVER_VERSION_FILE = Path("/proc/driver/nvidia/version")
COMPAT_FOLDER = Path("/usr/local/cuda/compat")

Version = tuple[int, ...]


def capabilities() -> list[Version]:
    """The compute capability of each GPU; empty on a host without GPUs.

    Raises PlatformError when nvidia-smi is there but fails.
    """
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stdout", None) or str(error)).strip().splitlines()[0]
        raise PlatformError(f"the host's GPUs cannot be used: nvidia-smi: {reason}; start the job again") from None
    return [_version(line) for line in answer.split()]


def count(gpus: list[Version]) -> int:
    """The number of GPUs to use: all, or those that CUDA_VISIBLE_DEVICES names.

    CUDA ignores what follows the first invalid name: -1 means none.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(gpus)
    indices = {str(index) for index in range(len(gpus))}
    names = [name.strip() for name in visible.split(",")]
    valid = itertools.takewhile(lambda name: name in indices or name.startswith(("GPU-", "MIG-")), names)
    return min(len(gpus), len(list(valid)))


def require_supported(gpus: list[Version]) -> None:
    """Raise SettingsError when a GPU is too old for the image's CUDA."""
    for capability in gpus:
        if capability < OLDEST_CAPABILITY:
            generation = "".join(map(str, capability))
            raise SettingsError(
                f"CUDA 13 does not support this instance's GPUs (sm_{generation}, as of ml.p2 and ml.p3); use an "
                f"instance of {GPU_FAMILIES}"
            )


def prepare() -> int:
    """Give the processes that this one starts the CUDA library for the driver. Returns the number of GPUs to use.

    Raises SettingsError or PlatformError when they cannot be used.
    """
    gpus = capabilities()
    require_supported(gpus)
    folder = compat_folder() if gpus else None
    if folder:
        print(f"The host's driver is too old for CUDA 13: using the compatibility library in {folder}", flush=True)
        os.environ["LD_LIBRARY_PATH"] = f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    return count(gpus)


def compat_folder(version_file: Path = DRIVER_VERSION_FILE, folder: Path = COMPAT_FOLDER) -> Path | None:
    """The folder that the host's driver needs on LD_LIBRARY_PATH; None when the driver is new enough.

    Raises PlatformError when the driver is too old for this image.
    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/inference-gpu-drivers.html
    """
    text = version_file.read_text() if version_file.exists() else ""
    match = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)  # "for x86_64" may come before the version
    if match is None:
        return None
    driver = _version(match[1])
    libraries = [_version(path.name.removeprefix("libcuda.so.")) for path in folder.glob("libcuda.so.*.*")]
    if driver >= max(libraries, default=NATIVE_DRIVER):
        return None
    if driver < OLDEST_DRIVER or not libraries:
        needed = OLDEST_DRIVER if libraries else NATIVE_DRIVER
        raise PlatformError(
            f"the host's NVIDIA driver {match[1]} is too old for this image, which needs {needed[0]} or newer; "
            f"use an instance of {GPU_FAMILIES}"
        )
    return folder


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))
