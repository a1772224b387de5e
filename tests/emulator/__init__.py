"""cuda_kernels.py on CPU tensors: its kernels compiled for the processor, their threads run one after the other.

    python tests/emulator FOLDER

compiles them ahead, for machines without a C++ compiler.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CODE = HERE.parents[1] / "code"

#: Where a prepared image has the libraries.
READY = Path("/opt/test-tools/emulator")

#: The kernels of each part.
KERNELS = {
    "adamw": ("step",), "attention": ("forward", "backward"), "gelu": ("forward", "backward"),
    "norm": ("forward", "backward"), "sums": ("columns",),
}  # fmt: skip

FORMATS = {"float32": 0, "bfloat16": 1, "float16": 2}

Sizes = tuple[tuple[str, int], ...]

#: What the tests want: parts of code/*.cu, formats, and sizes.
VARIANTS: tuple[tuple[str, str, Sizes], ...] = (
    *(("adamw", form, ()) for form in FORMATS),
    ("sums", "float32", ()),
    *(("norm", form, (("WIDTH", width),)) for form in FORMATS for width in (31, 384)),
    *(("gelu", form, (("WIDTH", width),)) for form in FORMATS for width in (31, 1536)),
    *(
        ("attention", form, (("WIDTH", width), ("TOKENS", tokens)))
        for form, width, tokens in (
            ("bfloat16", 64, 128), ("bfloat16", 32, 64), ("float16", 32, 128), ("float16", 16, 16),
        )
    ),
)  # fmt: skip


def compile_library(folder: Path, part: str, form: str, sizes: Sizes) -> Path:
    """Write the library of a part of code/*.cu to `folder`. Raises CalledProcessError."""
    library = folder / _file_name(part, form, sizes)
    defined = {"PART_FILE": f'"{part}.cu"', "FORMAT": FORMATS[form], **dict(sizes)}
    for number, name in enumerate(KERNELS[part]):
        defined |= {f"KERNEL_{number}": f"{part}_{name}", f"LAUNCH_{number}": f"launch_{name}"}
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-march=x86-64-v3", "-Wno-unknown-pragmas"]
    definitions = [f"-D{name}={value}" for name, value in defined.items()]
    subprocess.run(
        ["g++", *flags, *definitions, f"-I{HERE}", f"-I{CODE}", HERE / "kernels.cpp", "-o", library], check=True
    )
    return library


class Driver:
    """What cuda_kernels.py uses of CUDA's driver."""

    def __init__(self, part: str, form: str, sizes: Sizes) -> None:
        assert (part, form, sizes) in VARIANTS, "add it to VARIANTS"
        ready = READY / _file_name(part, form, sizes)
        self._library = ctypes.CDLL(str(ready if ready.exists() else compile_library(_folder(), part, form, sizes)))

    def cuLaunchKernel(
        self, kernel: str, across: int, down: int, _: int, threads: int, __: int, ___: int, shared_bytes: int,
        stream: int, arguments: int, extra: int,
    ) -> tuple[int]:  # fmt: skip
        """Run a kernel, and wait for it."""
        launch = self._library[f"launch_{kernel.rpartition('_')[2]}"]
        launch(across, down, threads, shared_bytes, ctypes.c_void_p(arguments))
        return (0,)


def install(monkeypatch: Any) -> None:
    """Let cuda_kernels.py work on CPU tensors."""
    import cuda_kernels

    drivers = functools.cache(Driver)

    def compiled(name: str, dtype: Any, sizes: Sizes, shared_bytes: int, device: Any) -> tuple[Driver, str]:
        return drivers(name.partition("_")[0], str(dtype).removeprefix("torch."), sizes), name

    monkeypatch.setattr(cuda_kernels, "_compiled", compiled)
    monkeypatch.setattr(cuda_kernels, "_multiprocessors", lambda device: 2)
    monkeypatch.setattr(cuda_kernels, "_capability", lambda device: (9, 0))
    monkeypatch.setattr(cuda_kernels, "_stream", lambda device: 0)


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="emulator-"))


def _file_name(part: str, form: str, sizes: Sizes) -> str:
    return "-".join([part, form, *(str(value) for _, value in sizes)]) + ".so"


if __name__ == "__main__":
    for variant in VARIANTS:
        compile_library(Path(sys.argv[1]), *variant)
