"""A temporary folder of this process, which the next one removes where this one could not: after SIGKILL."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from text_classifier.runtime.owner import new_folder


def scratch_folder(prefix: str) -> Path:
    """A new temporary folder with this prefix, after removing those whose processes have ended.

    A folder is locked as long as its process lives, or one that was forked from it. It gets its name once it is locked,
    so that nobody takes it for one that is left over. Raises PlatformError as `new_folder`.
    """
    unnamed = new_folder(f"new-{prefix}")
    folder = unnamed.with_name(unnamed.name.removeprefix("new-"))
    with suppress(OSError):  # a file system without locks: there nothing is removed
        _lock(unnamed)
    unnamed.rename(folder)
    for other in folder.parent.glob(f"{prefix}*"):
        if other != folder:
            _remove_if_left_over(other)
    return folder


def _lock(folder: Path) -> int:
    """Lock a folder, until the descriptor is closed. Raises OSError if it is locked, or cannot be."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_left_over(folder: Path) -> None:
    with suppress(OSError):  # in use, of another user, or removed by another process
        descriptor = _lock(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
