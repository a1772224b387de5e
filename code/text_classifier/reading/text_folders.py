"""A folder of text files for each class: `pos/1.txt`, `neg/2.txt`. Each file is one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading.columns import Columns
from text_classifier.reading.content import blocks
from text_classifier.reading.encoding import as_utf8
from text_classifier.reading.header import names_columns
from text_classifier.reading.reader import format_of
from text_classifier.reading.sources import SourceFile
from text_classifier.reading.table import LONGEST_FIELD, FileOptions

#: Files whose first line is searched for a header.
TRIED = 5


def is_text_folders(
    files: Sequence[SourceFile], columns: Columns, options: FileOptions, training: Sequence[SourceFile] = ()
) -> bool:
    """Whether each file is a text and its folder's name the label.

    So it is where all files are `.txt` in two or more folders, no column is named by a hyperparameter, and no line of
    the first files names the columns of a table. Where the `training` files, those of the channel `train`, are in two
    or more folders, one is enough.
    """
    return may_be_text_folders(files, columns, options, training) and not has_header(files[:TRIED], columns, options)


def may_be_text_folders(
    files: Sequence[SourceFile], columns: Columns, options: FileOptions, training: Sequence[SourceFile] = ()
) -> bool:
    """Whether the names of the files, and the hyperparameters, are those of texts in folders."""
    if columns.given or not options.has_header or not all(map(_is_in_folder, files)):
        return False
    has_classes = len({file.parts[-2] for file in files}) > 1
    return has_classes or (bool(training) and may_be_text_folders(training, columns, options))


def has_header(files: Sequence[SourceFile], columns: Columns, options: FileOptions) -> bool:
    """Whether the first line of one of the files names the columns of a table."""
    return any(_names_columns(file, columns, options) for file in files)


def _is_in_folder(file: SourceFile) -> bool:
    return len(file.parts) > 1 and file.parts[-1].lower().endswith(".txt")


def require_header(file: SourceFile, columns: Columns, options: FileOptions) -> None:
    """Raise DataError for a file without rows of these columns if it seems to be a text: a .txt file in a folder, whose
    first line names neither the columns that hyperparameters name nor usual ones."""
    if not columns.given or not options.has_header or not _is_in_folder(file):
        return
    head = next(_content(file, options), b"")
    if (
        head.strip()
        and format_of(head, file.name, options.records_key) == "delimited"
        and not any(_names_columns(file, each, options) for each in (columns, Columns()))
    ):
        given = listed(columns.given, len(columns.given))
        raise DataError(
            f"{file.name} has no header with the columns of {given}; remove {given} if each file is a text and its "
            "folder the label, else add the header"
        )


def _names_columns(file: SourceFile, columns: Columns, options: FileOptions) -> bool:
    first = next(_content(file, options), b"").partition(b"\n")[0]
    return names_columns(
        first.decode("utf-8", "replace"),
        lambda names, rows: columns.choose(file.name, [*names, *file.partition], rows),
    )


def whole_text(file: SourceFile, options: FileOptions) -> str:
    """The content of a text file; bytes that are not UTF-8 become lone surrogates. Raises DataError if too long."""
    content = b""
    for block in _content(file, options):
        content += block
        if len(content) > 4 * LONGEST_FIELD:
            raise DataError(f"{file.name} is longer than {LONGEST_FIELD:,} characters; remove it")
    return content.decode("utf-8", "surrogateescape").strip()


def _content(file: SourceFile, options: FileOptions) -> Iterator[bytes]:
    content = blocks(file.path, file.name, may_be_page=True)
    return as_utf8(content, file.name, options.encoding, lambda note: None)
