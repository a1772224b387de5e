"""The files of a channel, divided into pieces and read by all CPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from text_classifier.reading.batch import Batch
from text_classifier.reading.piece import End, Header, Job, Piece, read_piece
from text_classifier.reading.sources import SourceFile


def read_files(files: Sequence[SourceFile], job: Job) -> Iterator[tuple[SourceFile, Iterable[Batch | End]]]:
    """Yield each file with its batches, in order. All batches of a file must be taken before the next one."""
    header: Header | None = None

    def batches(file: SourceFile) -> Iterator[Batch | End]:
        nonlocal header
        for batch in read_piece(Piece(file), job, header):
            if isinstance(batch, End):
                header = header or batch.header
            yield batch

    for file in files:
        yield file, batches(file)
