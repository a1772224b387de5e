"""Runs a command and ends it when it stops making progress, for the docker commands of build_and_push.sh.

    python -m launcher.push_watchdog [--terminal] SECONDS COMMAND ...

Passes on the command's output and exit code. If the command prints nothing for SECONDS, it is ended: exit code 124
and one sentence on stderr. With --terminal the command runs in a pseudo-terminal, because docker shows the progress of
a push on terminals only; if our stdout is not a terminal, the progress lines are filtered out.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence

from launcher import program

STALLED = 124
#: Time between SIGTERM and SIGKILL.
_GRACE_SECONDS = 10
_CHUNK_BYTES = 1 << 16

_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRESS = re.compile(rb": Pushing\b")


class TerminalLines:
    """Terminal output as lines for a file: without escape sequences, progress lines and repetitions."""

    def __init__(self) -> None:
        self._rest = b""
        self._seen: set[bytes] = set()

    def new(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk of output completes."""
        *whole, self._rest = re.split(rb"[\r\n]+", self._rest + chunk)
        for line in whole:
            text = _ESCAPE.sub(b"", line).strip()
            if text and text not in self._seen and not _PROGRESS.search(text):
                self._seen.add(text)
                yield text + b"\n"


def run(command: Sequence[str], seconds: float, on_terminal: bool) -> int:
    """Run the command. Returns its exit code, or STALLED."""
    reader, writer = pty.openpty() if on_terminal else os.pipe()
    process = subprocess.Popen(command, stdout=writer)
    os.close(writer)
    lines = TerminalLines() if on_terminal and not sys.stdout.isatty() else None
    try:
        while select.select([reader], [], [], seconds)[0]:
            chunk = _read(reader)
            if not chunk:
                return process.wait()
            for part in lines.new(chunk) if lines else [chunk]:
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        print(f"{' '.join(command[:2])} made no progress for {seconds:g} s and was ended.", file=sys.stderr)
        return STALLED
    finally:
        _end(process)
        os.close(reader)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, _CHUNK_BYTES)
    except OSError:  # on Linux: the other end of the pseudo-terminal is closed
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
    """Exit code of the command, or 124 if it stalled."""
    on_terminal = words[0] == "--terminal"
    seconds, *command = words[on_terminal:]
    return run(command, float(seconds), on_terminal)


if __name__ == "__main__":
    program.run("push_watchdog", lambda: main(sys.argv[1:]))
