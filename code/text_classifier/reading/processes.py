"""Reads the files of a channel with all CPUs, or in this process if they are small."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import IO

from text_classifier.contract.errors import PlatformError
from text_classifier.reading.batch import Batch
from text_classifier.reading.piece import End, Header, Job, Piece, read_piece
from text_classifier.reading.pieces import Task, tasks
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.spool import not_written
from text_classifier.reading.table import Part
from text_classifier.runtime.cpus import usable_cpus

#: Bytes of files up to which no processes are started.
SMALL = 32 << 20

#: What a process has read: batches without their texts, each with the index of its file.
Found = list[tuple[int, "Batch | End"]]


def read_files(files: Sequence[SourceFile], job: Job) -> Iterator[tuple[SourceFile, Iterable[Batch | End]]]:
    """Yield each file with its batches, in order. All batches of a file must be taken before the next one."""
    processes = process_count(files)
    todo = list(tasks(files, job, processes)) if processes > 1 else []
    found = _by_processes(todo, job, min(processes, len(todo))) if len(todo) > 1 else _here(files, job)
    for index, batches in itertools.groupby(found, key=lambda pair: pair[0]):
        yield files[index], (batch for _, batch in batches)


def process_count(files: Sequence[SourceFile]) -> int:
    """The processes that read: one for each CPU of this process's share, or this one alone."""
    if sum(file.path.stat().st_size for file in files) < SMALL:
        return 1
    return max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _here(files: Sequence[SourceFile], job: Job) -> Iterator[tuple[int, Batch | End]]:
    header: Header | None = None
    for index, file in enumerate(files):
        for batch in read_piece(Piece(file), job, header):
            if isinstance(batch, End):
                header = header or batch.header
            yield index, batch


class _Reading:
    """A task that a process works on, which writes the texts to a file of this process's."""

    def __init__(self, pool: ProcessPoolExecutor, task: Task, job: Job) -> None:
        self.task = task
        self._texts: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when they are taken
        path = f"/proc/{os.getpid()}/fd/{self._texts.fileno()}"
        self._future: Future[Found] = pool.submit(_read, task, job, path)

    def found(self) -> Iterator[tuple[int, Batch | End]]:
        """What was read. Raises PlatformError when the process was killed."""
        try:
            found = self._future.result()
        except BrokenProcessPool:
            raise PlatformError(
                "a process that reads the data was killed, most likely because the memory is used up; use an instance "
                "with more memory"
            ) from None
        with self._texts:
            self._texts.seek(0)
            for index, batch in found:
                if isinstance(batch, Batch):
                    batch = replace(batch, content=self._texts.read(int(batch.lengths.sum())))
                yield index, batch


def _by_processes(todo: Sequence[Task], job: Job, processes: int) -> Iterator[tuple[int, Batch | End]]:
    # torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn" if "torch" in sys.modules else "fork")
    pool = ProcessPoolExecutor(processes, context, _begin)
    try:
        readings: deque[_Reading] = deque()
        waiting = iter(todo)
        divided_wrongly = None  # index of a file
        while True:
            while len(readings) < 2 * processes + 1 and (task := next(waiting, None)):
                readings.append(_Reading(pool, task, job))
            if not readings:
                return
            reading = readings.popleft()
            if reading.task.pieces[0][0] == divided_wrongly:
                continue
            for index, batch in reading.found():
                yield index, batch
                if isinstance(batch, End) and batch.cut_at is not None:
                    divided_wrongly = index
                    piece = reading.task.pieces[0][1]
                    rest = replace(piece, part=Part(batch.cut_at, None, piece.part.layout))
                    yield from _Reading(pool, Task(((index, rest),), reading.task.header), job).found()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """In a new process: it ends with its parent, and not before."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _read(task: Task, job: Job, texts: str) -> Found:
    """Read the pieces of a task, and write the texts to a file."""
    found: Found = []
    with open(texts, "wb", buffering=1 << 20) as file:
        for index, piece in task.pieces:
            try:
                for batch in read_piece(piece, job, task.header):
                    if isinstance(batch, Batch):
                        file.write(batch.content)
                        batch = replace(batch, content=b"")
                    found.append((index, batch))
                file.flush()
            except OSError as error:
                found.append((index, End("line", error=not_written(error))))
                break
    return found
