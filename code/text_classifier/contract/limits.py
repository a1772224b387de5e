"""What a process may use of its machine: memory, processes and open files, as limited by the container."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Limits of the container's cgroup, of version 2 and version 1.
_MEMORY = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
_PROCESSES = ("sys/fs/cgroup/pids.max", "sys/fs/cgroup/pids/pids.max")


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes. A container without a limit has "max" in version 2 of cgroups, and 2**63 less a page in version 1."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_numbers(root, _MEMORY)])


def process_limit(root: Path = Path("/")) -> int | None:
    """Processes and threads of the container; None without a limit."""
    return min(_numbers(root, _PROCESSES), default=None)


def file_limit() -> int:
    """Open files of a process."""
    return os.sysconf("SC_OPEN_MAX")


def _numbers(root: Path, names: Sequence[str]) -> Iterator[int]:
    for name in names:
        try:
            yield int((root / name).read_text())
        except (OSError, ValueError):
            continue
