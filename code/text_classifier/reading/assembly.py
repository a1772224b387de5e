"""The rows of a channel, joined from the batches of its files."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.batch import Batch
from text_classifier.reading.bounds import DiskCheck, require_decoded
from text_classifier.reading.columns import Columns
from text_classifier.reading.fields import BadRow, Unlabelled
from text_classifier.reading.label_map import LabelMap
from text_classifier.reading.labels import LabelReader
from text_classifier.reading.pairs import SEPARATOR
from text_classifier.reading.piece import End
from text_classifier.reading.rows import Places, Rows
from text_classifier.reading.sources import Source, SourceFile
from text_classifier.reading.spool import Spool, file_name
from text_classifier.reading.table import place
from text_classifier.reading.text_lines import LineTooLong

#: Maximum number of slices.
MOST_SLICES = 10_000

#: Maximum number of notes on the files of a split.
SHOWN = 20


class Assembly:
    """Joins batches to the rows of a channel: what they are is independent of how its files were divided.

    Files and their batches come in order, and the content of the batches is stored in `texts`. The files of texts and
    ids are in `folder`, or without it temporary.
    """

    def __init__(
        self,
        source: Source,
        columns: Columns,
        labels: LabelReader,
        bad: BadRows,
        *,
        drops_unlabelled: bool,
        folder: Path | None = None,
    ) -> None:
        self._source = source
        self._columns = columns
        self._labels = labels
        self._bad = bad
        self._drops_unlabelled = drops_unlabelled
        self.texts = Spool(folder, file_name(source.name, "texts"))
        self._ids = Spool(folder, file_name(source.name, "ids")) if columns.id else None
        self._codes: array[Any] = array(labels.typecode)
        self._numbers, self._lines, self._characters = array("I"), array("I"), array("I")
        self._exact, self._near, self._groups = array("Q"), array("Q"), array("Q")
        self._slices = array("q")
        self._slice_values: dict[str, int] = {}
        self._files: list[str] = []  # name and unit, as in `train/a.tsv line`
        self._starts: list[int] = []  # index of each file's first row
        self._empty: list[str] = []  # names of files without rows
        self._notes: dict[str, int] = {}  # in order, and in how many files
        self._disk = DiskCheck(self.texts.folder)
        self.dropped = 0
        self.unlabelled = 0

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def seen(self) -> int:
        """The rows that could be read, those that were dropped included."""
        return len(self) + self.dropped + self.unlabelled

    def add_file(self, source: SourceFile, batches: Iterable[Batch | End]) -> None:
        """Add the rows of a file, of which the batches may come in several parts. Raises DataError."""
        self._files.append(f"{source.name} line")
        self._starts.append(len(self))
        rows_before = self.seen + self._bad.count
        number = line = 0  # before the part
        decoded = 0
        notes: dict[str, None] = {}
        for batch in batches:
            self._files[-1] = f"{source.name} {batch.unit or 'line'}"
            if isinstance(batch, Batch):
                self._add(batch, source.name, number, line)
                decoded += batch.size
                require_decoded(source.name, source.size, decoded)
                continue
            if batch.error:
                raise batch.error.below(line) if isinstance(batch.error, LineTooLong) else batch.error
            number, line = number + batch.records, line + batch.lines
            notes |= dict.fromkeys(batch.notes)
        for note in notes:
            self._notes[note] = self._notes.get(note, 0) + 1
        self._bad.end_file()
        if len(self._slice_values) > MOST_SLICES:
            column = self._columns.slice
            raise DataError(
                f"{source.name} has more than {MOST_SLICES:,} values in column {column!r}; choose another slice_column"
            )
        if self.seen + self._bad.count == rows_before:
            self._empty.append(source.name)  # Spark leaves such parts

    def _add(self, batch: Batch, name: str, number: int, line: int) -> None:
        """Add the rows of a batch; `number` and `line` come before the part that it is of."""
        codes = [self._code(value, batch.label_column) for value in batch.labels]
        if batch.problems or any(map(_is_odd, codes)) or any(isinstance(each, BadRow) for each in batch.more):
            batch = batch.take(self._good(batch, codes, name, number, line))
        self._disk.require(batch.size)
        self.texts.add(batch.starts, batch.lengths)
        code_of = np.array([0 if _is_odd(code) else code for code in codes], self._codes.typecode)
        self._codes.frombytes(code_of[batch.label_of].tobytes())
        for whole, column in (
            (self._numbers, batch.numbers + number), (self._lines, batch.lines + line),
            (self._characters, batch.characters), (self._exact, batch.exact), (self._near, batch.near),
        ):  # fmt: skip
            whole.frombytes(column.astype(whole.typecode).tobytes())
        if batch.more:
            self._add_more(batch.more)

    def _add_more(self, rows: Sequence[Any]) -> None:
        """Add the hashes of groups, the slices and the ids of rows, those that are chosen."""
        groups, values, ids = zip(*rows, strict=True)
        if self._columns.group:
            self._groups.extend(groups)
        if self._columns.slice:
            self._slices.extend([self._slice_values.setdefault(value, len(self._slice_values)) for value in values])
        if self._ids is not None:
            lengths = np.fromiter(map(len, ids), np.int64, len(ids))
            self._ids.add(self._ids.append(b"".join(ids)) + np.cumsum(lengths) - lengths, lengths)

    def _good(self, batch: Batch, codes: Sequence[Any], name: str, number: int, line: int) -> np.ndarray:
        """The indices of the rows to keep. Reports the others in order. Raises DataError."""
        keeps = np.ones(len(batch), dtype=bool)
        odd = np.array([_is_odd(code) for code in codes], dtype=bool)[batch.label_of]
        odd |= np.array([isinstance(each, BadRow) for each in batch.more] or False)
        problems = iter([*batch.problems, None])
        problem = next(problems)
        for row in [*np.flatnonzero(odd).tolist(), len(batch)]:
            while problem and problem.index <= row:
                self._bad.add(
                    _where(name, batch.unit, number + problem.number, line + problem.line), problem.reason,
                    problem.remedy,
                )  # fmt: skip
                problem = next(problems)
            if row < len(batch):
                where = _where(name, batch.unit, number + int(batch.numbers[row]), line + int(batch.lines[row]))
                keeps[row] = False
                self._leave_out(codes[batch.label_of[row]], batch.more[row] if batch.more else None, where, batch.unit)
        return np.flatnonzero(keeps)

    def _leave_out(self, code: Any, more: Any, where: str, unit: str) -> None:
        """Count or report a row that is not kept, because of its label, or else of its group, slice or id."""
        if code is None:
            self.dropped += 1
        elif isinstance(code, Unlabelled) and self._drops_unlabelled:
            self.unlabelled += 1
        elif isinstance(code, DataError):  # too many labels: not the fault of a single row
            raise DataError(f"{where}: {code}") if unit else code
        else:
            problem = code if isinstance(code, BadRow) else more
            self._bad.add(where, str(problem), problem.remedy)

    def _code(self, value: Any, column: str) -> int | float | Exception | None:
        """The code of a label; None for a row to drop, and an exception for one that cannot be used."""
        if type(value) is str and (code := self._labels.codes.get(value)) is not None:
            return code
        try:
            return self._labels.read(value, column)
        except (BadRow, DataError) as error:
            return error

    def finish(self) -> tuple[Rows, LabelMap]:
        """All rows of the channel and the label map, after the last file. Raises DataError."""
        name = self._source.name
        if not self.seen:
            raise DataError(f"{self._empty[0] if self._empty else name} has no rows; add a header and at least one row")
        if not len(self) and not self.dropped:
            raise DataError(f"no row of {name} has a label; set label_column to the column of the labels")
        if not len(self):
            raise DataError(
                f"no row of {name} has a label that is in label_map; its labels are {self._labels.label_list}"
            )
        texts = self.texts.strings()
        self._require_texts(name, texts)
        label_map, targets = self._labels.targets(np.asarray(self._codes))
        return Rows(
            channel=name,
            texts=texts,
            places=self._places(),
            ids=None if self._ids is None else self._ids.strings(),
            targets=targets,
            characters=np.asarray(self._characters),
            exact=np.asarray(self._exact),
            near=np.asarray(self._near),
            groups=np.asarray(self._groups),
            slices=np.asarray(self._slices),
            slice_values=tuple(self._slice_values),
            dropped=self.dropped,
            unlabelled=self.unlabelled,
            notes=(*self._source.notes, *self._all_notes(name), *self._labels.notes),
        ), label_map

    def _require_texts(self, name: str, texts: Sequence[str]) -> None:
        """Raise DataError if all texts are empty, or all first or second texts of pairs."""
        if not any(self._characters):
            raise DataError(f"all texts of {name} are empty; set text_columns to the columns of the text")
        if self._columns.pairs and all(text.startswith(SEPARATOR) for text in texts):
            raise DataError(f"all first texts of {name} are empty; set text_columns to the columns of the text")
        if self._columns.pairs and all(text.endswith(SEPARATOR) for text in texts):
            raise DataError(f"all second texts of {name} are empty; set text_pair_columns to the columns of the text")

    def _all_notes(self, channel: str) -> list[str]:
        """The notes on the files, equal ones once."""
        notes = [f"{note} (in {files:,} files)" if files > 1 else note for note, files in self._notes.items()]
        if self._empty:
            notes.append(f"WARNING: {channel} has files without rows: {listed(self._empty)}")
        more = [f"and {len(notes) - SHOWN:,} more notes on the files of {channel}"] if len(notes) > SHOWN else []
        return [*notes[:SHOWN], *more]

    def _places(self) -> Places:
        counts = np.diff([*self._starts, len(self)])
        file_of = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
        return Places(self._files, file_of, np.asarray(self._numbers), np.asarray(self._lines))


def _is_odd(code: Any) -> bool:
    """Whether a label has no code."""
    return code is None or isinstance(code, Exception)


def _where(name: str, unit: str, number: int, line: int) -> str:
    """A row's place for messages. A text file is a row."""
    return place(f"{name} {unit}", number, line) if unit else name
