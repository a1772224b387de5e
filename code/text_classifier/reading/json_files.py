"""JSON files: one object per line, one array of objects, or one object that holds the rows in one of several forms.

    {"data": [{"text": ..., "label": ...}, ...]}         a list of objects under a key (records_key)
    {"text": [...], "label": [...]}                      a list for each column (Dataset.to_dict)
    {"text": {"0": ...}, "label": {"0": ...}}            pandas' to_json, and its orient="index"
    {"columns": [...], "data": [[...], ...]}             its orient="split"
    {"text": ..., "label": ...} {"text": ...             objects one after another, pretty-printed (jq)

The first of these and the last are read row by row, the others as a whole, each column up to LONGEST_COLUMN.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from text_classifier.contract.errors import DataError, listed
from text_classifier.reading.columns import has_columns
from text_classifier.reading.json_values import JsonText, TooLong
from text_classifier.reading.table import MISSING, Keys, OpenFile, Row, column_name
from text_classifier.reading.text_lines import LONGEST_LINE, lines

#: The columns of a JSON file are the names in its first objects, this many: an object may lack a name without a value.
OBJECTS_FOR_COLUMNS = 1_000

#: Nested objects have names with dots, to this depth, and this many in all.
DEEPEST_NAME, MOST_NAMES = 8, 10_000

#: Fields of an object of columns for each value in it: its columns have about the same indices.
MOST_GAPS = 20

#: Maximum length of a column that is read as a whole, in characters of its JSON text.
LONGEST_COLUMN = 500_000_000

#: Bytes of a first line up to which it is parsed to tell what it is: an object of all rows may be in one line.
_LONGEST_PARSED = 1 << 20

#: A string, or one that does not end.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?$)', re.DOTALL)


def up_to_second_line(taken: deque[bytes], content: Iterator[bytes]) -> bytes:
    """The beginning of a text up to the block in which its second line starts. `taken` has the first block, and gets
    those that are read; without a second line in LONGEST_LINE bytes there are no lines that could be read."""
    text = bytearray(taken[0])
    end = text.find(b"\n", len(text) - len(text.lstrip()))  # of the first line
    while (end < 0 or text[end:].isspace()) and len(text) <= LONGEST_LINE and (block := next(content, b"")):
        taken.append(block)
        text += block
        if end < 0:
            end = text.find(b"\n", len(text) - len(block))
    return bytes(text)


def is_lines(text: bytes, records_key: str) -> bool:
    """Whether a text that begins with `{` has one object per line, not one object that holds the rows.

    `text`: as from up_to_second_line.
    """
    first, _, rest = text.lstrip().partition(b"\n")
    try:
        value = json.loads(first[:_LONGEST_PARSED].decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return rest.lstrip().startswith(b"{") and not _goes_on(first)  # its first line is damaged, or long
    holds_key = any(f"{records_key}.".startswith(f"{key}.") for key in value)
    return bool(rest.strip()) or (_is_row(value) and not holds_key)


def _goes_on(line: bytes) -> bool:
    """Whether an object may follow in the next line: after `{"data": [`, `{"data": [{...},` and `{"review":`."""
    bare = _STRING.sub(lambda found: b'""' if found[1] == b'"' else found[0], line).rstrip()
    return bare.endswith(b":") or (bare.endswith((b"[", b",")) and bare.count(b"[") > bare.count(b"]"))


def _is_row(value: Mapping[str, Any]) -> bool:
    """Whether an object alone in a file is a row: one with a plain value, and no list of objects."""
    lists = [part for part in value.values() if isinstance(part, list)]
    return any(not isinstance(part, dict | list) for part in value.values()) and not any(
        isinstance(part, dict) for each in lists for part in each
    )


def line_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a JSON lines file."""
    return _objects(file, _parsed_lines(file))


def array_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a JSON array."""
    file.unit = "row"
    return _objects(file, _array(file))


def object_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of an object that holds them, or of objects one after another."""
    file.unit = "row"
    return _objects(file, _held(file))


def _parsed_lines(file: OpenFile) -> Iterator[tuple[int, Any]]:
    """The value of each line, or the error of one that is not JSON, with its number."""
    number = 0
    for number, line in enumerate(lines(file.content, file.name), start=1):
        if line and not line.isspace():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                value = error
            yield number, value
    file.records = file.lines = number


def _array(file: OpenFile) -> Iterator[tuple[int, Any]]:
    text = JsonText(file.content)
    with text.refusing(file.name):
        for value in text.elements():
            yield text.row, value
        if text.peek():
            raise DataError(f"{file.name} has content after the JSON array; keep a single array, or write JSON lines")


def _held(file: OpenFile) -> Iterator[tuple[int, Any]]:
    text, whole = JsonText(file.content), dict[str, Any]()
    with text.refusing(file.name):
        held = yield from _list_of_rows(file, text, "", whole)
        if held and text.peek():
            raise DataError(f"{file.name} has content after the JSON object; write one object per line (jq -c)")
        if file.options.records_key and not held:
            raise DataError(
                f"{file.name} has no list under records_key={file.options.records_key!r}; its keys are "
                f"{listed(list(whole))}"
            )
        if not held and text.peek():  # objects one after another
            yield 1, whole
            text.row = 1
            while text.peek():
                text.row += 1
                yield text.row, text.value()
        elif not held:
            yield from enumerate(_turned(file, whole), start=1)


def _list_of_rows(
    file: OpenFile, text: JsonText, prefix: str, whole: dict[str, Any]
) -> Generator[tuple[int, Any], None, str]:
    """Yield the objects of the list that an object holds. Returns the list's key, or nothing.

    The object's other values go to `whole`. `prefix` is the object's own key, for a `records_key` with dots.
    """
    wanted, held, is_row = file.options.records_key, "", False
    for key in text.names():
        name = prefix + key
        if wanted.startswith(name + ".") and text.peek() == "{":
            held = yield from _list_of_rows(file, text, name + ".", whole)
        elif text.peek() == "[" and wanted in ("", name):
            elements = text.elements()
            first = next(elements, None)
            # Once the object is found to be a row it is one, so the columns are compared at most three times.
            is_row = is_row or (isinstance(first, dict) and _is_one_row(file, {**whole, key: [first]}))
            if not wanted and (is_row or not isinstance(first, dict)):
                whole[key] = [first, *_column(text, elements)] if text.row else []
                continue
            if held:
                raise DataError(f"{file.name} has lists of rows under {held!r} and {name!r}; set records_key to one")
            held = name
            for value in itertools.chain([first], elements) if text.row else ():
                yield text.row, value
        elif text.peek() == "{" and wanted == name:
            held = name
            yield from enumerate(_turned(file, text.value(LONGEST_COLUMN)), start=1)
        else:
            whole[key] = text.value(LONGEST_COLUMN)
    return held


def _column(text: JsonText, elements: Iterator[Any]) -> Iterator[Any]:
    """The elements of a list that is read as a whole. Raises TooLong."""
    start = text.offset
    for value in elements:
        if text.offset - start > LONGEST_COLUMN:
            raise TooLong(LONGEST_COLUMN)
        yield value


def _turned(file: OpenFile, whole: Mapping[str, Any]) -> Iterator[Any]:
    """The rows of an object that has them by column, by index, or apart from the names of the columns; else itself."""
    values = list(whole.values())
    if {"columns", "data"} <= set(whole) and isinstance(whole["columns"], list) and isinstance(whole["data"], list):
        for row in whole["data"]:
            if not isinstance(row, list) or len(row) != len(whole["columns"]):
                raise DataError(f"{file.name} has a row in 'data' without {len(whole['columns'])} values; fix the file")
            yield dict(zip(map(str, whole["columns"]), row, strict=True))
    elif values and all(isinstance(value, list) for value in values):
        lengths = {len(value) for value in values}
        if len(lengths) > 1:
            raise DataError(f"{file.name} has columns of {min(lengths):,} to {max(lengths):,} values; fix the file")
        yield from (dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True))
    elif values and all(isinstance(value, dict) for value in values):
        indices = dict.fromkeys(index for value in values for index in value)
        if all(index.isdecimal() for index in indices) or _has_columns(file, whole):
            if len(indices) * len(values) > MOST_GAPS * (1_000 + sum(map(len, values))):
                raise DataError(f"{file.name} has columns of different indices; write one JSON object per line")
            yield from ({name: value.get(index) for name, value in whole.items()} for index in indices)
        elif _is_one_row(file, whole):
            yield whole
        else:  # orient="index"
            yield from values
    else:
        yield whole


def _is_one_row(file: OpenFile, value: Mapping[str, Any]) -> bool:
    """Whether an object has the chosen columns itself, some of them by names with dots."""
    return _has_columns(file, [*value, *itertools.islice(_dotted(value), MOST_NAMES)])


def _has_columns(file: OpenFile, names: Iterable[str]) -> bool:
    """Whether the chosen columns are among these names."""
    return has_columns(file.choose, [column_name(name) for name in names])


def _objects(file: OpenFile, values: Iterator[tuple[int, Any]]) -> Iterator[Row]:
    keys, first = file.part.layout, list[tuple[int, Any]]()
    if not isinstance(keys, Keys):
        first = list(itertools.islice(values, OBJECTS_FOR_COLUMNS))
        keys = _keys([value for _, value in first if isinstance(value, dict)])
    pick: Callable[[dict[str, Any]], list[Any]] | None = None
    for number, value in itertools.chain(first, values):
        if isinstance(value, dict):
            if pick is None:
                keys = keys or _keys([value])
                assert keys is not None
                pick = _picker(file, keys, value)
                if file.unit == "line":  # else the file has no lines at which it may be divided
                    file.layout = keys
            yield number, number, pick(value)
        elif isinstance(value, Exception):
            file.bad(number, number, f"is not JSON ({value})", "write one JSON object per line")
        else:
            file.bad(number, number, "is not a JSON object", "write one JSON object per row")


def _keys(objects: Sequence[dict[str, Any]]) -> Keys | None:
    """The names of the fields in some objects; None without any."""
    own = {column_name(name): name for value in objects for name in value}
    nested = dict.fromkeys(itertools.islice((name for value in objects for name in _dotted(value)), MOST_NAMES))
    return Keys(own, tuple(name for name in nested if name not in own)) if objects else None


def _picker(file: OpenFile, keys: Keys, first: dict[str, Any]) -> Callable[[dict[str, Any]], list[Any]]:
    """A function that picks the chosen fields out of an object. `first` is shown if they cannot be chosen."""
    own = keys.own
    names = [*own, *keys.nested]
    chosen = file.choose(names, [_at(first, own.get(name, name)) for name in names])
    if all(name in own for name in chosen):
        plain = [own[name] for name in chosen]
        return lambda value: [value.get(key, MISSING) for key in plain]
    return lambda value: [value.get(own[name], MISSING) if name in own else _at(value, name) for name in chosen]


def _dotted(value: Any, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """The names of the fields of nested objects, and of the first elements of lists: `review.text`, `choices.0`."""
    parts = value.items() if isinstance(value, dict) else [("0", value[0])] if isinstance(value, list) and value else ()
    for key, part in parts:
        if depth:
            yield prefix + key
        if isinstance(part, dict | list) and depth < DEEPEST_NAME:
            yield from _dotted(part, f"{prefix}{key}.", depth + 1)


def _at(value: Any, name: str) -> Any:
    """The field of a nested object under a name with dots; MISSING if it is not there."""
    if isinstance(value, dict) and name in value:
        return value[name]
    for part in name.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value
