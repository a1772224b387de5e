"""Files and folders that a process may not read, although the tests may run as root, who may read everything."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOMEBODY = 12345

#: Of prctl: whether other processes may look at this one, such as at /proc/PID/fd. A change of user clears it.
_SET_DUMPABLE = 4


@contextmanager
def without_root() -> Iterator[int]:
    """This process is not root; yields who it is. What it imports meanwhile may be root's alone."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(SOMEBODY)
    try:
        yield os.geteuid()
    finally:
        if was_root:
            os.seteuid(0)
            ctypes.CDLL(None).prctl(_SET_DUMPABLE, 1, 0, 0, 0)


@contextmanager
def closed(path: Path, mode: int = 0) -> Iterator[int]:
    """As `without_root`, while a path in a folder of pytest's has this mode."""
    for parent in path.parents:
        if any(part.startswith("pytest-of-") for part in parent.parts):
            parent.chmod(0o755)  # they are their owner's alone
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with without_root() as user:
            yield user
    finally:
        path.chmod(before)
