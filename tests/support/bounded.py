"""A function run in a process of its own, with bounds on time and memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How the process ended. `code` is as of subprocess: negative for a signal."""

    code: int
    log: str
    seconds: float
    bytes: int  #: the most memory that was in use, of the whole process


def run_bounded(work: Callable[[], int], log: Path, seconds: float, memory: int) -> Ended:
    """Fork, run `work` and return its exit code and what it wrote to stdout and stderr.

    A fork starts in milliseconds where importing torch takes seconds. `memory` bytes of address space are allowed on
    top of what this process has; after `seconds` the process is killed.
    """
    started = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _be_child(work, log, memory)
    status = usage = None
    while status is None:
        ended, code, usage = os.wait4(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
        elif time.monotonic() - started > seconds:
            os.kill(child, signal.SIGKILL)
            seconds = float("inf")
        else:
            time.sleep(0.005)
    assert usage is not None
    return Ended(status, log.read_text(errors="replace"), time.monotonic() - started, usage.ru_maxrss * 1024)


def _be_child(work: Callable[[], int], log: Path, memory: int) -> None:
    code = 99
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
        own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + memory, own + memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = work()
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
