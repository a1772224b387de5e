"""Compiles the libraries of code/ with sanitizers: python libraries.py FOLDER. Needs g++, and nothing of torch."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from text_classifier.ops import compile as compiler

SANITIZED = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")

#: They have to be loaded before Python, and are put beside the libraries that need them.
RUNTIMES = ("libasan.so", "libubsan.so")


def build(folder: Path) -> None:
    """Write the sanitized libraries and the sanitizers' own to `folder`. Raises CalledProcessError."""
    compiler.FLAGS = (*compiler.FLAGS, *SANITIZED)
    for name in compiler.LIBRARIES:
        compiler.compile_library(folder, name)
    for name in RUNTIMES:
        found = subprocess.run(["g++", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
        shutil.copy(Path(found.stdout.strip()).resolve(), folder / name)


if __name__ == "__main__" and platform.machine() == "x86_64":
    build(Path(sys.argv[1]))
