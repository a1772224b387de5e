"""The values of Arrow columns as Python objects, of so many rows at a time that they fit into memory.

A value that a file stores once may stand in any number of its rows: in a dictionary, a run, or a view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from text_classifier.contract.errors import DataError
from text_classifier.reading.bounds import ALWAYS

#: Rows in memory at a time, and bytes of their values.
ROWS, BYTES = 1_000, 1 << 26

#: Path of a column, or of a field in its structs, and the class names of its numbers if it has any.
Picked = tuple[Sequence[str], Sequence[str]]


def values(batch: Any, picked: Sequence[Picked], name: str) -> Iterator[list[list[Any]]]:
    """The values of the picked columns, a slice of the batch at a time.

    Bytes that are not UTF-8 become lone surrogates. Raises DataError for a row of the file `name` that is too large.
    """
    columns = [_column(batch, path) for path, _ in picked]
    for start, end in _spans(columns, len(batch), name):
        slices = [column.slice(start, end - start) for column in columns]
        yield [_values(part, classes) for part, (_, classes) in zip(slices, picked, strict=True)]


def _column(batch: Any, path: Sequence[str]) -> Any:
    from pyarrow import compute

    column = batch.column(path[0])
    for name in path[1:]:
        column = compute.struct_field(column, name)
    return column


def _spans(columns: Sequence[Any], rows: int, name: str) -> Iterator[tuple[int, int]]:
    """The first row of each slice, and the one after its last."""
    sizes = [_sizes(column) for column in columns]
    spans = [(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS)][::-1]
    while spans:
        start, end = spans.pop()
        size = sum(size_of(start, end) for size_of in sizes)
        if size > BYTES and end - start > 1:
            middle = (start + end) // 2
            spans += [(middle, end), (start, middle)]
        elif size > ALWAYS:
            raise DataError(f"{name} has a row of {size:,} bytes; shorten or remove it")
        else:
            yield start, end


def _sizes(column: Any) -> Callable[[int, int], int]:
    """A function that gives the bytes of the values of some rows, each in a copy of its own."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if isinstance(column, pyarrow.ExtensionArray):
        return _sizes(column.storage)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        widest = _widest(column.dictionary if types.is_dictionary(kind) else column.values)
        return lambda start, end: (end - start) * widest
    if types.is_struct(kind):
        parts = [_sizes(part) for part in column.flatten()]
        return lambda start, end: sum(part(start, end) for part in parts)
    if types.is_list(kind) or types.is_large_list(kind):
        offsets, elements = column.offsets, _sizes(column.values)
        return lambda start, end: elements(offsets[start].as_py(), offsets[end].as_py())
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        ends = _ends(column.sizes.to_numpy() * _widest(column.values))
        return lambda start, end: int(ends[end] - ends[start])
    if types.is_string_view(kind) or types.is_binary_view(kind):
        headers = np.frombuffer(column.buffers()[1], np.int32)[::4]  # each begins with the length
        ends = _ends(headers[column.offset :][: len(column)])
        return lambda start, end: int(ends[end] - ends[start])
    return lambda start, end: int(column.slice(start, end - start).nbytes)


def _ends(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _widest(values: Any) -> int:
    """An upper bound of the bytes of a value."""
    from pyarrow import compute, types

    kind = values.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return compute.max(compute.binary_length(values)).as_py() or 0
    return int(values.nbytes)


def _values(column: Any, classes: Sequence[str]) -> list[Any]:
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_large_string(column.type):
        column = column.cast(pyarrow.large_binary())
    values: list[Any] = column.to_pylist()
    if classes:
        return [_named(value, classes) for value in values]
    return [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values]


def _named(value: Any, classes: Sequence[str]) -> Any:
    """The name of a class's number, or the names in a list; None for -1, which marks a row without a label."""
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    if not isinstance(value, int) or value == -1:
        return None
    return classes[value] if 0 <= value < len(classes) else value
