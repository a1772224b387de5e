"""Arrays and strings in files that are mapped into memory, in folders that are published whole or not at all.

All processes that map a file share one copy of it: the page cache.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.contract.errors import JobError, PlatformError, PreparationError, describe
from text_classifier.reading.strings import Strings
from text_classifier.runtime.stop import Stopped

MANIFEST = "manifest.json"

_REFUSAL, _STOPPED = "refusal", "stopped"

#: Seconds between two looks at a folder that is not there yet.
LOOK_SECONDS = 0.02


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """A new folder to write to, which becomes `folder` when the context ends without an error.

    Raises PlatformError when it cannot be written, such as on a full disk.
    """
    aside = folder.with_name(f"{folder.name}.writing")
    try:
        aside.mkdir()
        yield aside
        aside.rename(folder)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise PlatformError(
            f"the prepared data cannot be written to {folder.parent.parent} ({error.strerror}); give the job a larger "
            "volume, or set TMPDIR to a folder with more space"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # it is there after an error only


def wait_for(folder: Path) -> Path:
    """The folder, as soon as it is published. If that never happens, hook.py ends this process."""
    while not folder.exists():
        time.sleep(LOOK_SECONDS)
    return folder


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file. numpy.save would not say why it failed."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def map_array(path: Path) -> np.ndarray:
    """Map a .npy file, read-only."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    return np.frombuffer(map_file(path)[start:], dtype).reshape(shape)


def write_strings(path: Path, strings: Sequence[str]) -> None:
    """Write strings as UTF-8, and beside them where each begins and ends."""
    packed = Strings.of(strings)
    path.write_bytes(packed.content.data)
    write_bounds(path, packed)


def write_bounds(path: Path, strings: Strings) -> None:
    """Write where each of some strings begins and ends in their content, which is in a file already."""
    starts, ends = _bounds(path)
    write_array(starts, strings.starts)
    write_array(ends, strings.ends)


def map_content(path: Path) -> np.ndarray:
    """Map the content of strings."""
    return np.frombuffer(map_file(path), np.uint8)


def map_strings(path: Path, content: np.ndarray | None = None) -> Strings:
    """Map strings. `content`: what they share with others; by default that of `path`."""
    starts, ends = map(map_array, _bounds(path))
    return Strings(map_content(path) if content is None else content, starts, ends)


def map_file(path: Path) -> memoryview:
    """Map a file, read-only, for the rest of the process's life.

    Each mapping of Python's own mmap keeps a file open, and there are dozens.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:  # an empty file cannot be mapped
            return memoryview(b"")
        address = _mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        if address == ctypes.c_void_p(-1).value:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B").toreadonly()


_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def _bounds(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.starts.npy"), path.with_name(f"{path.name}.ends.npy")


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of a folder, which is JSON."""
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a published folder. Raises PreparationError or Stopped if it says why there is nothing else."""
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if _REFUSAL in content:
        raise PreparationError(content[_REFUSAL])
    if _STOPPED in content:
        raise Stopped(content[_STOPPED])
    return content


def refuse(folder: Path, error: JobError | Stopped) -> None:
    """Publish in `folder` why there is nothing else."""
    reason = {_STOPPED: str(error)} if isinstance(error, Stopped) else {_REFUSAL: describe(error)}
    with published(folder) as part:
        write_manifest(part, reason)


def is_published(folder: Path) -> bool:
    """Whether a folder is published. Raises PreparationError as read_manifest does."""
    return folder.exists() and bool(read_manifest(folder))
