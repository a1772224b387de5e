"""Compiles the kernels in ops/cuda for a CPU: PYTHONPATH=code python libraries.py FOLDER.

The test image's build runs it, because the image has no compiler. Elsewhere `library` compiles on demand.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from text_classifier.ops.cuda.constants import definitions

HERE = Path(__file__).parent
CODE = HERE.parents[2] / "code" / "text_classifier" / "ops" / "cuda"

#: The libraries in the test image.
READY = Path("/opt/test-tools/emulator")

#: The kernels of each file.
KERNELS = {
    "adamw": ("step",), "attention": ("forward", "backward"), "gelu": ("forward", "backward"),
    "norm": ("forward", "backward"), "sums": ("columns",),
}  # fmt: skip

DTYPES = ("float32", "bfloat16", "float16")

Sizes = tuple[tuple[str, int], ...]

#: The tests' variants: file, dtype and sizes.
VARIANTS: tuple[tuple[str, str, Sizes], ...] = (
    ("sums", "float32", ()),
    *(("adamw", dtype, ()) for dtype in DTYPES),
    *(("norm", dtype, (("WIDTH", width),)) for dtype in DTYPES for width in (31, 384)),
    *(("norm", dtype, (("WIDTH", width),)) for dtype in DTYPES[1:] for width in (16, 64)),
    *(("gelu", dtype, (("WIDTH", width),)) for dtype in DTYPES for width in (31, 1536)),
    *(("gelu", dtype, (("WIDTH", 128),)) for dtype in DTYPES[1:]),
    *(
        ("attention", dtype, (("WIDTH", width), ("TOKENS", tokens)))
        for dtype, width, tokens in (
            ("bfloat16", 64, 128), ("float16", 64, 128), ("bfloat16", 32, 64), ("bfloat16", 16, 32),
            ("float16", 32, 128), ("float16", 16, 16),
        )
    ),
)  # fmt: skip


def library(part: str, dtype: str, sizes: Sizes) -> Path:
    """The library of one of VARIANTS."""
    assert (part, dtype, sizes) in VARIANTS, "add it to VARIANTS"
    ready = READY / _file_name(part, dtype, sizes)
    return ready if ready.exists() else compile_library(_folder(), part, dtype, sizes)


def compile_library(folder: Path, part: str, dtype: str, sizes: Sizes) -> Path:
    """Write one of VARIANTS to `folder`. Raises CalledProcessError."""
    file = folder / _file_name(part, dtype, sizes)
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-march=x86-64-v3", "-Wno-unknown-pragmas"]
    flags += [*definitions(part, dtype, dict(sizes)), f'-DPART_FILE="{part}.cu"']
    for number, name in enumerate(KERNELS[part]):
        flags += [f"-DKERNEL_{number}={part}_{name}", f"-DLAUNCH_{number}=launch_{name}"]
    command = ["g++", *flags, f"-I{HERE}", f"-I{CODE}", str(HERE / "kernels.cpp"), "-o", str(file)]
    subprocess.run(command, check=True)
    return file


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="emulator-"))


def _file_name(part: str, dtype: str, sizes: Sizes) -> str:
    return "-".join([part, dtype, *(str(value) for _, value in sizes)]) + ".so"


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        for file in pool.map(lambda variant: compile_library(Path(sys.argv[1]), *variant), VARIANTS):
            print(file)
