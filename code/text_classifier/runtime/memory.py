"""The memory that a process may use: that of the machine, limited by the container. Needs no torch."""

from __future__ import annotations

import os
from pathlib import Path

#: Limits of the container's cgroup in bytes, of version 2 and version 1.
_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes. A container without a limit has "max" in version 2 of cgroups, and 2**63 less a page in version 1."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _LIMITS:
        try:
            limits.append(int((root / name).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits)
