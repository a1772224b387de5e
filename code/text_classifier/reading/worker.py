"""A process that reads pieces of the channel's files: tasks come in through a pipe, and what was found goes out.

It is a new interpreter: neither a fork of one whose threads hold locks, nor one that runs the main module again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import PlatformError, listed
from text_classifier.reading.batch import Batch
from text_classifier.reading.piece import End, ReadSpec, read_piece
from text_classifier.reading.pieces import ReadTask
from text_classifier.reading.spool import Appender

#: What a process has read: batches of which the texts are stored, each with the index of its file.
Found = list[tuple[int, "Batch | End"]]

_CODE = Path(__file__).parents[2]


class Worker:
    """A process that reads. It ends when it is closed, and when this process ends."""

    def __init__(self, spec: ReadSpec) -> None:
        environment = {**os.environ, "PYTHONPATH": str(_CODE), "OMP_NUM_THREADS": "1"}
        self._pipe, other = Pipe()
        command = [sys.executable, "-P", "-m", __name__, str(other.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, env=environment)
        other.close()
        self._spec = spec

    def read(self, task: ReadTask, texts: Appender) -> Found:
        """What the pieces of a task hold; the process stores their texts.

        Raises PlatformError if the process dies.
        """
        try:
            self._pipe.send((task, self._spec, texts.path, texts.folder))
            found: Found | Exception = self._pipe.recv()
        except (OSError, EOFError):
            raise _reason(self._process.wait(), task) from None
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def _reason(code: int, task: ReadTask) -> PlatformError:
    """Why a process died, by its exit code."""
    if code == -signal.SIGKILL:
        return PlatformError(
            "a process that reads the data was killed, most likely because the host ran out of memory; use an "
            "instance with more memory"
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    names = list(dict.fromkeys(piece.source.name for _, piece in task.pieces))
    return PlatformError(
        f"a process that reads the data crashed ({how}) at {listed(names)}; write these rows in another format, and "
        "report the crash"
    )


def read_pieces(task: ReadTask, spec: ReadSpec, path: str, folder: Path) -> Found:
    """What the pieces of a task hold; their texts are appended to the file `path`, which is in `folder`."""
    found: Found = []
    with closing(Appender(path, folder)) as texts:
        for index, piece in task.pieces:
            for batch in read_piece(piece, spec, task.header):
                try:
                    found.append((index, texts.store(batch) if isinstance(batch, Batch) else batch))
                except PlatformError as error:
                    return [*found, (index, End("line", error=error))]
    return found


def main(pipe: Connection) -> None:
    """Read tasks until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended
        while True:
            task = pipe.recv()
            try:
                answer: Any = read_pieces(*task)
            except Exception as error:
                answer = error
            pipe.send(answer)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
