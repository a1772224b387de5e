"""The kernels of code/*.cu as libraries for a CPU: python libraries.py FOLDER.

The test image's build does so, because the image has no compiler. Elsewhere `library` does.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
CODE = HERE.parents[2] / "code" / "text_classifier" / "ops" / "cuda"

#: Where the test image has them.
READY = Path("/opt/test-tools/emulator")

#: The kernels of each file.
KERNELS = {
    "adamw": ("step",), "attention": ("forward", "backward"), "gelu": ("forward", "backward"),
    "norm": ("forward", "backward"), "sums": ("columns",),
}  # fmt: skip

#: As in ptx.cuh.
DTYPES = {"float32": 0, "bfloat16": 1, "float16": 2}

Sizes = tuple[tuple[str, int], ...]

#: What the tests want: files, formats and sizes.
VARIANTS: tuple[tuple[str, str, Sizes], ...] = (
    ("sums", "float32", ()),
    *(("adamw", form, ()) for form in DTYPES),
    *(("norm", form, (("WIDTH", width),)) for form in DTYPES for width in (31, 384)),
    *(("norm", "bfloat16", (("WIDTH", width),)) for width in (16, 64)),
    *(("gelu", form, (("WIDTH", width),)) for form in DTYPES for width in (31, 1536)),
    ("gelu", "bfloat16", (("WIDTH", 128),)),
    *(
        ("attention", form, (("WIDTH", width), ("TOKENS", tokens)))
        for form, width, tokens in (
            ("bfloat16", 64, 128), ("bfloat16", 32, 64), ("bfloat16", 16, 32), ("float16", 32, 128),
            ("float16", 16, 16),
        )
    ),
)  # fmt: skip


def library(part: str, form: str, sizes: Sizes) -> Path:
    """The library of one of VARIANTS."""
    assert (part, form, sizes) in VARIANTS, "add it to VARIANTS"
    ready = READY / _file_name(part, form, sizes)
    return ready if ready.exists() else compile_library(_folder(), part, form, sizes)


def compile_library(folder: Path, part: str, form: str, sizes: Sizes) -> Path:
    """Write one of VARIANTS to `folder`. Raises CalledProcessError."""
    file = folder / _file_name(part, form, sizes)
    defined = {"PART_FILE": f'"{part}.cu"', "DTYPE": DTYPES[form], **dict(sizes)}
    for number, name in enumerate(KERNELS[part]):
        defined |= {f"KERNEL_{number}": f"{part}_{name}", f"LAUNCH_{number}": f"launch_{name}"}
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-march=x86-64-v3", "-Wno-unknown-pragmas"]
    definitions = [f"-D{name}={value}" for name, value in defined.items()]
    command = ["g++", *flags, *definitions, f"-I{HERE}", f"-I{CODE}", str(HERE / "kernels.cpp"), "-o", str(file)]
    subprocess.run(command, check=True)
    return file


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="emulator-"))


def _file_name(part: str, form: str, sizes: Sizes) -> str:
    return "-".join([part, form, *(str(value) for _, value in sizes)]) + ".so"


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        for file in pool.map(lambda variant: compile_library(Path(sys.argv[1]), *variant), VARIANTS):
            print(file)
