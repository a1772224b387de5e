"""The start and the end of each program of the launcher."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def run(name: str, main: Callable[[], int]) -> NoReturn:
    """End the process with the exit code of `main`, or after Ctrl-C, which is one sentence, by that signal.

    What stdout and stderr cannot encode is escaped: labels with PYTHONIOENCODING=latin-1, names of files.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if it is closed
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr, flush=True)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)  # a shell's loop would go on after an exit
        raise
    sys.exit(code)
