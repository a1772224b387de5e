"""How a text file separates and quotes its fields, detected from its first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from text_classifier.contract.errors import SettingsError
from text_classifier.reading import label_map

#: Separators in the order in which they are looked for in the first line. A comma is the default.
SEPARATORS = ("\t", ",", ";", "|")

#: Excel's own first line: it names the separator.
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')

#: A whole field of a TSV file in quotes, or one that does not end.
_QUOTED_FIELD = re.compile(r'(?<![^\t\n])"[^"]*+(?:""[^"]*+)*+(?:"(?![^\t\n])|\Z)')


@dataclass(frozen=True)
class Dialect:
    """The separator, and whether fields may be quoted; within quotes a quote is doubled, or escaped by a backslash."""

    delimiter: str = ","
    is_quoted: bool = True
    has_backslashes: bool = False
    has_sep_line: bool = False  #: Excel's first line, which is neither header nor row


def detect(sample: Sequence[str], delimiter: str) -> Dialect:
    """The dialect of a file that begins with these lines; `delimiter` is the hyperparameter. Raises SettingsError."""
    first = next((line for line in sample if line.strip()), "")
    sep_line = _SEP_LINE.fullmatch(first) if not delimiter else None
    if sep_line:
        rest = sample[sample.index(first) + 1 :]
        return Dialect(sep_line[1], has_backslashes=_has_backslashes(rest, sep_line[1]), has_sep_line=True)
    separator = _given(delimiter) or _separator(first, sample)
    if separator == "\t" and not _is_quoted_tsv(sample):
        return Dialect(separator, is_quoted=False)
    return Dialect(separator, has_backslashes=_has_backslashes(sample, separator))


def _given(delimiter: str) -> str:
    character = "\t" if delimiter.strip().lower() in ("tab", "\\t") else delimiter
    if len(character) > 1 or character in ('"', "\n", "\r"):
        raise SettingsError(f"delimiter={delimiter!r} is not a single character; set it to one such as ; or | or tab")
    return character


def _separator(header: str, sample: Sequence[str]) -> str:
    """The separator of a first line: those within quotes do not count.

    Of several, such as a comma within a name and semicolons, the first one that gives all lines as many fields. A tab
    is one in any case.
    """
    bare = _QUOTED.sub("", header)
    found = [separator for separator in SEPARATORS if separator in bare] or [","]
    if found[0] == "\t" or len(found) == 1:
        return found[0]
    return next((separator for separator in found if _is_valid(sample, separator)), found[0])


def _is_quoted_tsv(sample: Sequence[str]) -> bool:
    """Whether a TSV file quotes fields, as pandas does.

    The Amazon review files never quote: a quote in them is text, anywhere in a field. So each quote must be one that a
    writer of quotes would write, and one at least must be needed: around a tab, a line feed or a quote, or around all
    texts alike.
    """
    if not any('"' in line for line in sample):
        return False
    try:
        records = list(csv.reader(_complete(sample), delimiter="\t", strict=True))
    except csv.Error:
        return False
    if any(len(record) != len(records[0]) for record in records if record):
        return False
    bare = _QUOTED_FIELD.sub("", "\n".join(sample))
    if '"' in bare:
        return False
    needed = any(mark in field for record in records for field in record for mark in ('"', "\t", "\n"))
    return needed or all(label_map.number(field) is not None for field in re.split("[\t\n]", bare) if field)


def _has_backslashes(sample: Sequence[str], separator: str) -> bool:
    r"""Whether quotes within quotes are escaped as \", as Spark and Glue do: the file is not CSV otherwise."""
    if not any('\\"' in line for line in sample):
        return False
    return not _is_valid(sample, separator) and _is_valid(list(map(unescaped, sample)), separator)


def _is_valid(sample: Sequence[str], separator: str) -> bool:
    try:
        records = [record for record in csv.reader(_complete(sample), delimiter=separator, strict=True) if record]
    except csv.Error:
        return False
    return all(len(record) == len(records[0]) for record in records)


def _complete(sample: Sequence[str]) -> Iterator[str]:
    """The lines up to the last one with an even number of quotes so far: a record may be cut by the sample's end."""
    quotes, end = 0, 0
    for number, line in enumerate(sample, start=1):
        quotes += line.count('"')
        if quotes % 2 == 0:
            end = number
    return (line + "\n" for line in sample[:end])


_ESCAPED = re.compile(r'(?<!\\)(\\++)"')  # from the first of the backslashes alone: linear in time


def unescaped(line: str) -> str:
    r"""The line with quotes doubled instead of escaped: an odd number of backslashes escapes, a pair is one of them."""
    if '\\"' not in line:
        return line
    return _ESCAPED.sub(lambda found: "\\" * (len(found[1]) // 2) + ('""' if len(found[1]) % 2 else '"'), line)


def quotes(lines: Iterable[str], dialect: Dialect) -> Iterable[str]:
    """The lines of a file with its quotes as RFC 4180 has them."""
    return map(unescaped, lines) if dialect.has_backslashes else lines
