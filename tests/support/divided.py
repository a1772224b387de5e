"""Reads small files as large ones are read: divided, by several workers without processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from text_classifier.contract.errors import JobError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import pieces, processes, worker
from text_classifier.reading.piece import ReadSpec
from text_classifier.reading.pieces import ReadTask
from text_classifier.reading.spool import Appender


class Here:
    """A worker without a process of its own."""

    def __init__(self, spec: ReadSpec) -> None:
        self._spec = spec

    def read(self, task: ReadTask, texts: Appender) -> worker.Found:
        return worker.read_pieces(task, self._spec, texts.path, texts.folder)

    def close(self) -> None:
        pass


class Threads(ThreadPoolExecutor):
    """Threads that all start before the first task, and end after the last.

    Reading Parquet forks. In CPython 3.11 the child of a fork never returns if another thread starts or ends at that
    moment, and so holds the lock of the list of threads. A real worker has one thread.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._count = count
        self._meet()

    def _meet(self) -> None:
        barrier = threading.Barrier(self._count + 1)
        for _ in range(self._count):
            self.submit(barrier.wait)
        barrier.wait()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._meet()
        super().shutdown(wait)


@contextmanager
def workers(count: int, part: int = 150) -> Iterator[None]:
    """Files are read by so many workers, in parts of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "process_count", lambda files: count)
        patch.setattr(processes, "Worker", Here)
        patch.setattr(pieces, "PART", part)
        patch.setattr(processes, "ThreadPoolExecutor", Threads)
        yield


def found(channel: Path, **settings: str) -> Any:
    """All that reading a channel gives, or the sentence that refuses it."""
    try:
        data = read_data({"train": channel}, parse(settings))
    except JobError as error:
        return type(error), str(error)
    columns = ("targets", "characters", "exact", "near", "groups", "slices")
    rows = [
        (*[getattr(split, name).tolist() for name in columns], split.texts[:], split.places[:], split.slice_values)
        for split in data.splits.values()
    ]
    return repr((rows, data.classes, data.report))
