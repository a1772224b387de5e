"""Text files with separated fields: CSV in its dialects, TSV, and fastText's lines."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence, Set

from text_classifier.contract.errors import DataError
from text_classifier.reading import dialect as dialects
from text_classifier.reading import header as headers
from text_classifier.reading.clean import clean_fields
from text_classifier.reading.columns import NoColumn, SeveralLabels
from text_classifier.reading.dialect import Dialect
from text_classifier.reading.records import Records
from text_classifier.reading.table import Block, Fields, NoHeader, OpenFile, Pick, Row, TooManyColumns
from text_classifier.reading.text_lines import decoded, line_blocks, lines

#: Lines and characters from which the dialect is detected.
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 1_000, 1 << 20

#: Bytes at the start of a TSV file among which its first quote is looked for. They are held in memory.
_SEARCHED = 16 << 20

#: Lines that are read record by record in any case: the header, and those in which it is looked for.
_HEAD_LINES = 20

#: How fastText marks labels.
_FASTTEXT = "__label__"

#: A first label of fastText's; in a CSV file a separator ends it.
_FASTTEXT_LABEL = re.compile(rb"__label__[^\s,;|]+\s")

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


def delimited_rows(file: OpenFile) -> Iterator[Row | Block]:
    """The rows of a file with separated fields."""
    blocks = line_blocks(file.content, file.name)
    layout = file.part.layout
    if isinstance(layout, Fields):
        dialect = layout.dialect
    else:
        head = list[bytes]()
        dialect = _detect(blocks, head, file.options.delimiter)
        blocks = itertools.chain(_without_head(head), blocks)
    return _fields(file, Records(file, blocks, dialect))


def _detect(blocks: Iterator[bytes], head: list[bytes], delimiter: str) -> Dialect:
    """The dialect of a file; the blocks that tell it go to `head`. Without any quote the first lines of a TSV file do
    not tell whether it is quoted, so those from the first quote on are looked at too."""
    ahead = _kept(blocks, head)
    sample = _sample(ahead)
    dialect = dialects.detect(sample, delimiter)
    if not dialect.is_quoted and not any('"' in line for line in sample):
        sample += _sample(_from_first_quote(itertools.chain(list(head), ahead)))
        dialect = dialects.detect(sample, delimiter)
    return dialect


def _kept(blocks: Iterable[bytes], head: list[bytes]) -> Iterator[bytes]:
    for block in blocks:
        head.append(block)
        yield block


def _sample(blocks: Iterable[bytes]) -> list[str]:
    """The first lines."""
    sample, characters = list[str](), 0
    for block in blocks:
        for line in decoded(block):
            sample.append(line.removesuffix("\r"))
            characters += len(line)
            if len(sample) == _SAMPLE_LINES or characters >= _SAMPLE_CHARACTERS:
                return sample
    return sample


def _from_first_quote(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The content from the line with the first quote on; none if there is no quote in _SEARCHED bytes."""
    searched = 0
    for block in blocks:
        quote = block.find(b'"')
        if quote >= 0:
            yield block[block.rfind(b"\n", 0, quote) + 1 :]
            yield from blocks
        searched += len(block)
        if searched >= _SEARCHED:
            return


def _without_head(blocks: Sequence[bytes]) -> Iterator[bytes]:
    """The blocks, of which the first is read in two parts: with the header, and most of the rows."""
    for number, block in enumerate(blocks):
        end = -1
        for _ in range(_HEAD_LINES if number == 0 else 0):
            end = block.find(b"\n", end + 1)
            if end < 0:
                break
        if end >= 0:
            yield block[:end]
        yield block[end + 1 :]


def fasttext_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a file of fastText's or BlazingText's: labels in front of the text, each after `__label__`."""
    try:
        pick = file.picker(("label", "text"))
    except NoColumn as missing:
        raise DataError(
            f"{file.name} has lines of fastText, each of which is a label and one text; remove "
            f"{missing.hyperparameter}, or give a table with the columns that it names"
        ) from None
    for number, line in enumerate(lines(file.content, file.name), start=1):
        if line.strip():
            words = line.split()
            labels = list(itertools.takewhile(lambda word: word.startswith(_FASTTEXT), words))
            text = line.split(None, len(labels))[-1] if len(words) > len(labels) else ""
            yield number, number, pick(([label.removeprefix(_FASTTEXT) for label in labels], text.strip()))


def is_fasttext(head: bytes) -> bool:
    """Whether a file begins as fastText's files do."""
    return _FASTTEXT_LABEL.match(head) is not None


def _fields(file: OpenFile, records: Records) -> Iterator[Row | Block]:
    """The chosen fields of the records below the header. Empty records, and those that repeat it, are skipped."""
    layout = file.part.layout
    header: Sequence[str] = layout.header if isinstance(layout, Fields) else file.options.columns
    if file.options.has_header and file.part.is_first:
        header = next((fields for _, _, fields in records if fields), ())
    first = next((record for record in records if record[2]), None)
    if not header or first is None:
        return
    try:
        pick = file.picker(header, first[2])
    except (NoHeader, SeveralLabels, TooManyColumns):
        raise
    except DataError:
        if sentence := headers.problem(file, header, itertools.chain([first], records), records.dialect):
            raise DataError(sentence) from None
        raise
    file.layout = Fields(records.dialect, tuple(header))
    width, repeated = len(header), 0
    starts = headers.spellings(header[0])
    longest = max(map(len, starts))
    encoded = frozenset(start.encode("utf-8", "surrogateescape") for start in starts)
    clean = functools.partial(_clean, records.dialect, width, pick, encoded)
    for item in itertools.chain([first], records.or_blocks(clean)):
        if isinstance(item, Block):
            yield item
            continue
        number, line, fields = item
        if len(fields) == width:
            start = fields[0]
            if (len(start) > longest or start not in starts) and start.strip():
                yield number, line, pick(fields)
            elif start in starts and headers.is_header(fields, header):
                repeated += 1
            elif any(map(str.strip, fields)) or fields == [""]:  # in a file with one column a blank line has no fields
                yield number, line, pick(fields)
        elif any(map(str.strip, fields)):
            file.bad(number, line, *_wrong_width(file, len(fields), width, records.dialect))
    if repeated:
        file.notes.append("lines that repeat the header were skipped")


def _clean(
    dialect: Dialect, width: int, pick: Pick, starts: Set[bytes], block: bytes, number: int, line: int
) -> Block | None:
    """The rows of a clean block; None for one that must be read record by record."""
    rows = clean_fields(block, dialect, width, starts)
    if rows is None:
        return None
    return Block(number, line, list(zip(*map(pick, rows), strict=True)), block.isascii())


def _wrong_width(file: OpenFile, found: int, width: int, dialect: Dialect) -> tuple[str, str]:
    """Reason and remedy for a row with another number of fields than the header."""
    fields = "1 field" if found == 1 else f"{found} fields"
    wanted = f"the header has {width}" if file.options.has_header else f"columns names {width}"
    separator = _NAMES.get(dialect.delimiter, f"{dialect.delimiter!r}")
    remedy = f"quote texts that hold a {separator}, or fix the row" if found > width else "fix or remove the row"
    return f"has {fields}, {wanted}", remedy if dialect.is_quoted else "fix or remove the row"
