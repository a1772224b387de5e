"""A process that reads pieces of the channel's files: tasks come in through a pipe, and what was found goes out.

It is a new interpreter: neither a fork of one whose threads hold locks, nor one that runs the main module again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from text_classifier.contract.errors import PlatformError
from text_classifier.reading.batch import Batch
from text_classifier.reading.piece import End, Job, read_piece
from text_classifier.reading.pieces import Task
from text_classifier.reading.spool import write_all

#: What a process has read: batches without their texts, each with the index of its file.
Found = list[tuple[int, "Batch | End"]]

_CODE = Path(__file__).parents[2]


class Worker:
    """A process that reads. It ends when it is closed, and when this process ends."""

    def __init__(self, job: Job) -> None:
        environment = {**os.environ, "PYTHONPATH": str(_CODE), "OMP_NUM_THREADS": "1"}
        self._pipe, other = Pipe()
        command = [sys.executable, "-P", "-m", __name__, str(other.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, env=environment)
        other.close()
        self._job = job

    def read(self, task: Task, texts: IO[bytes]) -> Found:
        """What the pieces of a task hold; the texts are written to the start of a file.

        Raises PlatformError if the process dies.
        """
        try:
            self._pipe.send((task, self._job, f"/proc/{os.getpid()}/fd/{texts.fileno()}", tempfile.gettempdir()))
            found: Found | Exception = self._pipe.recv()
        except (OSError, EOFError):
            raise PlatformError(
                "a process that reads the data was killed, most likely because the host ran out of memory; use an "
                "instance with more memory"
            ) from None
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def read_task(task: Task, job: Job, texts: str, folder: str) -> Found:
    """What the pieces of a task hold; the texts are written to the start of the file `texts`, which is in `folder`."""
    found: Found = []
    with open(texts, "r+b", buffering=0) as file:
        for index, piece in task.pieces:
            for batch in read_piece(piece, job, task.header):
                if isinstance(batch, Batch):
                    try:
                        write_all(file, batch.content, Path(folder))
                    except PlatformError as error:
                        return [*found, (index, End("line", error=error))]
                    batch = replace(batch, content=b"")
                found.append((index, batch))
    return found


def main(pipe: Connection) -> None:
    """Read tasks until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended
        while True:
            task = pipe.recv()
            try:
                answer: Any = read_task(*task)
            except Exception as error:
                answer = error
            pipe.send(answer)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
