"""Compiles this project's C++ to shared libraries: python compile.py FOLDER.

The image's build runs it. Elsewhere `library_path` compiles on demand, where there is a C++ compiler.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

#: The folder text_classifier/. While the image is built it holds only this file and the C++ sources.
PACKAGE = Path(__file__).parents[1]

#: Instruction sets that kernels.cpp is compiled for, the fastest first.
PROCESSORS = {
    "amx": ("-march=x86-64-v4", "-mamx-tile", "-mamx-bf16"),
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3",),
}

#: Source and additional flags of each library.
LIBRARIES = {f"kernels-{name}": ("ops/cpu/kernels.cpp", flags) for name, flags in PROCESSORS.items()} | {
    "wordpiece": ("tokenization/wordpiece.cpp", ("-march=x86-64-v2",))
}

#: Not -ffast-math: a NaN must stay one, and a sum keep its order.
FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fno-exceptions",
    "-fno-rtti", "-mprefer-vector-width=512",
)  # fmt: skip


def compile_library(folder: Path, name: str) -> Path:
    """Write one of LIBRARIES to `folder`. Raises OSError, or CalledProcessError with g++'s output."""
    source, flags = LIBRARIES[name]
    library = folder / f"{name}.so"
    compiled = folder / f"{name}.o"
    # Compiled with OpenMP but not linked against it: torch brings its OpenMP, and a second one would add threads.
    subprocess.run(
        ["g++", *FLAGS, "-fopenmp", *flags, "-c", PACKAGE / source, "-o", compiled],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    subprocess.run(
        ["g++", "-shared", "-static-libstdc++", "-static-libgcc", compiled, "-o", library],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    compiled.unlink()
    return library


def library_path(name: str) -> Path:
    """The image's library, or one that is compiled now. Raises OSError if it cannot be."""
    ready = Path(sys.prefix) / "lib" / f"{name}.so"
    if ready.exists():
        return ready
    try:
        return compile_library(Path(tempfile.mkdtemp(prefix="kernels-")), name)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip().splitlines()[0]
        raise OSError(f"{ready} is missing and cannot be compiled here ({reason})") from None


if __name__ == "__main__":
    # All libraries are for x86-64. Elsewhere torch's operations and the tokenizers library do their work.
    for name in LIBRARIES if platform.machine() == "x86_64" else ():
        print(compile_library(Path(sys.argv[1]), name))
