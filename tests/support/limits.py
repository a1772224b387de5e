"""Limits of this process, lowered for a while."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lowered(limit: int, value: int) -> Iterator[None]:
    """A context in which a limit of this process is lower, such as resource.RLIMIT_NOFILE.

    With RLIMIT_FSIZE a file that grows beyond it is an error, as on a full disk.
    """
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(limit, before)
