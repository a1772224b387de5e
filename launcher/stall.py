"""Run a command, and end it when it has shown nothing for so long.

    python -m launcher.stall [--terminal] SECONDS COMMAND ...

prints what the command prints and exits as it does, or with 124 and one sentence on stderr when it was ended. With
--terminal the command writes to a terminal of its own: docker shows the bytes of a push nowhere else. Where our own
output is none, the moving lines are left out.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence

STALLED = 124
#: A command that is told to end gets so long.
_GRACE_SECONDS = 10
_CHUNK_BYTES = 1 << 16

_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_MOVING = re.compile(rb": Pushing\b")


class Lines:
    """The lines of a terminal for a file: each once, without those that only move."""

    def __init__(self) -> None:
        self._rest = b""
        self._seen: set[bytes] = set()

    def new(self, chunk: bytes) -> Iterator[bytes]:
        *whole, self._rest = re.split(rb"[\r\n]+", self._rest + chunk)
        for line in whole:
            text = _ESCAPE.sub(b"", line).strip()
            if text and text not in self._seen and not _MOVING.search(text):
                self._seen.add(text)
                yield text + b"\n"


def run(command: Sequence[str], seconds: float, on_terminal: bool) -> int:
    """The exit code of the command, or STALLED."""
    reader, writer = pty.openpty() if on_terminal else os.pipe()
    process = subprocess.Popen(command, stdout=writer)
    os.close(writer)
    lines = Lines() if on_terminal and not sys.stdout.isatty() else None
    try:
        while select.select([reader], [], [], seconds)[0]:
            chunk = _read(reader)
            if not chunk:
                return process.wait()
            for part in lines.new(chunk) if lines else [chunk]:
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        print(f"{' '.join(command[:2])} has shown no progress for {seconds:g} s and was ended.", file=sys.stderr)
        return STALLED
    finally:
        _end(process)
        os.close(reader)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, _CHUNK_BYTES)
    except OSError:  # so Linux says that the other side of a terminal is closed
        return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(words: list[str]) -> int:
    on_terminal = words[0] == "--terminal"
    seconds, *command = words[on_terminal:]
    return run(command, float(seconds), on_terminal)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
