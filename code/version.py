#!/opt/venv/bin/python
"""The image's `version` command: its revision, lock and base, and its main packages."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version

#: The packages that a model depends on, CUDA's included.
PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "sagemaker-training",
    "cuda-toolkit", "nvidia-cudnn-cu13", "nvidia-nccl-cu13",
)  # fmt: skip


def main() -> None:
    """Print one line each. The first three are the image's labels too."""
    argparse.ArgumentParser(prog="version", description=__doc__).parse_args()
    for name in ("revision", "lock", "base"):
        print(f"{name}: {os.environ.get(f'IMAGE_{name.upper()}', 'unknown')}")
    print(f"python: {platform.python_version()}")
    for name in PACKAGES:
        print(f"{name}: {version(name)}")


if __name__ == "__main__":
    main()
