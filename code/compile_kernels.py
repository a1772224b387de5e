"""Compiles kernels.cpp, once for each kind of processor: python compile_kernels.py FOLDER.

The image does so when it is built. Elsewhere kernels.py does, where there is a C++ compiler.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")

#: What each library is compiled for. Newest first: the first that a processor can run is the fastest.
PROCESSORS = {
    "amx": ("-march=x86-64-v4", "-mamx-tile", "-mamx-bf16"),
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3",),
}

#: Faster, as far as a NaN stays one, and a sum keeps its order.
FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fno-exceptions",
    "-fno-rtti", "-mprefer-vector-width=512",
)  # fmt: skip


def compile_kernels(folder: Path, processor: str) -> Path:
    """Write the library for one of PROCESSORS to `folder`. Raises OSError or CalledProcessError, with g++'s words."""
    library = folder / f"kernels-{processor}.so"
    compiled = folder / f"kernels-{processor}.o"
    # Compiled for OpenMP but not linked with it: torch has its threads, and a second library would have others.
    subprocess.run(
        ["g++", *FLAGS, "-fopenmp", *PROCESSORS[processor], "-c", SOURCE, "-o", compiled],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    subprocess.run(["gcc", "-shared", compiled, "-o", library], check=True, capture_output=True, text=True)
    compiled.unlink()
    return library


if __name__ == "__main__":
    for name in PROCESSORS:
        print(compile_kernels(Path(sys.argv[1]), name))
