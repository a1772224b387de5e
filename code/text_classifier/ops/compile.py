"""Compiles this project's C++ to libraries: python compile.py FOLDER.

The image does so when it is built. Elsewhere `library` does, where there is a C++ compiler.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

#: Where text_classifier/ lies; while the image is built these files alone are there.
PACKAGE = Path(__file__).parents[1]

#: What kernels.cpp is compiled for. Newest first: the first that a processor can run is the fastest.
PROCESSORS = {
    "amx": ("-march=x86-64-v4", "-mamx-tile", "-mamx-bf16"),
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3",),
}

#: The libraries: their sources and flags of their own.
LIBRARIES = {f"kernels-{name}": ("ops/cpu/kernels.cpp", flags) for name, flags in PROCESSORS.items()} | {
    "wordpiece": ("tokenization/wordpiece.cpp", ("-march=x86-64-v2",))
}

#: Faster, as far as a NaN stays one, and a sum keeps its order.
FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fno-exceptions",
    "-fno-rtti", "-mprefer-vector-width=512",
)  # fmt: skip


def compile_library(folder: Path, name: str) -> Path:
    """Write one of LIBRARIES to `folder`. Raises OSError or CalledProcessError, with g++'s words."""
    source, flags = LIBRARIES[name]
    library = folder / f"{name}.so"
    compiled = folder / f"{name}.o"
    # Compiled for OpenMP but not linked with it: torch has its threads, and a second library would have others.
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
    """The image's, or one that is compiled now. Raises SettingsError where it cannot be."""
    from text_classifier.contract.errors import SettingsError  # not there yet when the image is built

    ready = Path(sys.prefix) / "lib" / f"{name}.so"
    if ready.exists():
        return ready
    try:
        return compile_library(Path(tempfile.mkdtemp(prefix="kernels-")), name)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise SettingsError(
            f"{ready} is missing and cannot be compiled here ({reason}); train in the image, or install g++"
        ) from error


if __name__ == "__main__":
    for name in LIBRARIES:
        print(compile_library(Path(sys.argv[1]), name))
