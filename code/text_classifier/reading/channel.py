"""Reads the files of a channel to rows, and one file to texts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import printable
from text_classifier.reading.assembly import Assembly
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.columns import Chosen, Columns
from text_classifier.reading.fields import BadRow, joined
from text_classifier.reading.fields import text as text_of
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import LabelReader
from text_classifier.reading.pairs import pair
from text_classifier.reading.piece import ReadSpec
from text_classifier.reading.processes import read_files
from text_classifier.reading.reader import open_rows, single_rows
from text_classifier.reading.rows import Rows
from text_classifier.reading.shards import Shards
from text_classifier.reading.sources import Source, SourceFile
from text_classifier.reading.table import DEFAULT_OPTIONS, FileOptions
from text_classifier.reading.text_folders import is_text_folders


def read_rows(
    source: Source,
    columns: Columns,
    labels: LabelReader,
    bad: BadRows,
    options: FileOptions = DEFAULT_OPTIONS,
    *,
    drops_unlabelled: bool = False,
    shards: Shards | None = None,
    folder: Path | None = None,
    training: Sequence[SourceFile] = (),
) -> tuple[Rows, LabelMap]:
    """Read all files of a split in one pass, on all CPUs. Returns the rows and the label map of their targets.

    A row without a label is dropped with `drops_unlabelled`, else it is a bad row. `shards`: reads the files of a
    sharded channel. `folder`: as in Assembly. `training`: the files of the channel `train`, where this is another one.

    Raises DataError that names file, line and column, and PlatformError when the disk has no space for the texts.
    """
    rows = Assembly(source, columns, labels, bad, drops_unlabelled=drops_unlabelled, folder=folder)
    if shards and source.is_sharded:
        spec = ReadSpec(columns, options, bad.skips, shards.is_text_folders(source.files, columns, options, training))
        own = Assembly(
            source, columns, copy.deepcopy(labels), BadRows(skips=bad.skips), drops_unlabelled=drops_unlabelled
        )
        found = shards.read_files(source.files, spec, own, rows.texts)
    else:
        spec = ReadSpec(columns, options, bad.skips, is_text_folders(source.files, columns, options, training))
        found = read_files(source.files, spec, rows.texts)
    with closing(found) as files:
        for file, batches in files:
            rows.add_file(file, batches)
    bad.end_channel(source.name, rows.seen)
    return rows.finish()


@dataclass(frozen=True)
class TextRow:
    """The text of a row, labeled or not."""

    place: str
    id: str | None  #: value of the id column, if there is one
    text: str  #: as in pairs.py if it is a pair


def read_texts(path: Path, columns: Columns, options: FileOptions = DEFAULT_OPTIONS) -> Iterator[TextRow]:
    """Yield the rows of one file of any size. Raises DataError."""
    bad, source, chosen = BadRows(skips=False), SourceFile(path, printable(path.name)), Chosen(())

    def choose(names: Sequence[str], first: Sequence[Any]) -> Sequence[str]:
        nonlocal chosen
        chosen = columns.choose_texts(source.name, names, first)
        return chosen.names

    def report(number: int, line: int, reason: str, remedy: str) -> None:
        bad.add(file.place(number, line), reason, remedy)

    file, rows = open_rows(source, options, choose, report)
    for number, line, fields in single_rows(rows):
        end = len(chosen.texts)
        try:
            identity = text_of(fields[-1], chosen.id).strip() if chosen.id else None
            text = joined(fields[:end], chosen.texts)
            if chosen.pairs:
                text = pair(text, joined(fields[end : end + len(chosen.pairs)], chosen.pairs))
            yield TextRow(file.place(number, line), identity, text)
        except BadRow as row:
            file.bad(number, line, str(row), row.remedy)
    bad.end_file()
