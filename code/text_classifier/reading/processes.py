"""Reads the files of a channel with all CPUs, or in this process if they are small."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from queue import Queue

from text_classifier.reading.batch import Batch
from text_classifier.reading.piece import End, Header, Piece, ReadSpec, read_piece
from text_classifier.reading.pieces import ReadTask, read_tasks
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.spool import Appender
from text_classifier.reading.worker import Found, Worker
from text_classifier.runtime.cpus import usable_cpus
from text_classifier.runtime.heartbeat import progress

#: Bytes of files up to which no processes are started.
SMALL = 48 << 20


def read_files(
    files: Sequence[SourceFile], spec: ReadSpec, texts: Appender
) -> Generator[tuple[SourceFile, Iterable[Batch | End]], None, None]:
    """Yield each file with its batches, in order. All batches of a file must be taken before the next one.

    The texts of the batches are stored in `texts`, by any process and in any order. Closing it ends the processes.
    """
    processes = process_count(files)
    todo = read_tasks(files, spec, processes) if processes > 1 else iter(())
    first = list(itertools.islice(todo, 2))
    todo = itertools.chain(first, todo)
    found = _by_processes(todo, spec, texts, processes) if len(first) > 1 else _here(files, spec, texts)
    progress.total = sum(file.path.stat().st_size for file in files)
    try:
        for index, batches in itertools.groupby(found, key=lambda pair: pair[0]):
            yield files[index], (_counted(batch) for _, batch in batches)
    finally:
        found.close()  # ends the processes, also where a row has ended the reading
        progress.rows = progress.done = progress.total = 0


def _counted(batch: Batch | End) -> Batch | End:
    if isinstance(batch, Batch):
        progress.rows += len(batch)
    else:
        progress.done += batch.size
    return batch


def process_count(files: Sequence[SourceFile]) -> int:
    """The processes that read: one for each CPU of this process's share, or this one alone."""
    if sum(file.path.stat().st_size for file in files) < SMALL:
        return 1
    return max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _here(
    files: Sequence[SourceFile], spec: ReadSpec, texts: Appender
) -> Generator[tuple[int, Batch | End], None, None]:
    header: Header | None = None
    for index, file in enumerate(files):
        for batch in read_piece(Piece(file), spec, header):
            if isinstance(batch, End):
                header = header or batch.header
            yield index, texts.store(batch) if isinstance(batch, Batch) else batch


class _Reading:
    """A task that a process works on, or will as soon as one is idle."""

    def __init__(self, threads: ThreadPoolExecutor, idle: Queue[Worker], task: ReadTask, texts: Appender) -> None:
        self.task = task
        self._texts = texts
        self._future: Future[Found] = threads.submit(self._read, idle)

    def _read(self, idle: Queue[Worker]) -> Found:
        worker = idle.get()
        try:
            return worker.read(self.task, self._texts)
        finally:
            idle.put(worker)

    def cancel(self) -> None:
        """Wait until no process works on it any more."""
        if not self._future.cancel():
            wait([self._future])

    def found(self) -> Found:
        """What was read. Raises PlatformError when the process was killed."""
        return self._future.result()


def _by_processes(
    todo: Iterator[ReadTask], spec: ReadSpec, texts: Appender, processes: int
) -> Generator[tuple[int, Batch | End], None, None]:
    """What the tasks hold, in order, read by up to `processes` processes. The next tasks are found meanwhile."""
    with ExitStack() as stack:
        threads = ThreadPoolExecutor(processes)  # each waits for a worker
        stack.callback(threads.shutdown, cancel_futures=True)
        idle: Queue[Worker] = Queue()
        to_start = processes
        readings: deque[_Reading] = deque()
        divided_wrongly = None  # index of a file
        while True:
            while len(readings) <= 2 * processes and (task := next(todo, None)):
                if to_start:
                    to_start -= 1
                    worker = Worker(spec)
                    stack.callback(worker.close)  # before the threads end: none waits for it any more
                    idle.put(worker)
                readings.append(_Reading(threads, idle, task, texts))
            if not readings:
                return
            reading = readings.popleft()
            if reading.task.pieces[0][0] == divided_wrongly:
                reading.cancel()
                continue
            for index, batch in reading.found():
                yield index, batch
                if isinstance(batch, End) and batch.rest:
                    divided_wrongly = index
                    piece = reading.task.pieces[0][1]
                    rest = ReadTask(((index, replace(piece, part=batch.rest)),), reading.task.header)
                    yield from _Reading(threads, idle, rest, texts).found()
