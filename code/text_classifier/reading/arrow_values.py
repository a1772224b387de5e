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

_MAY_HAVE_BYTES = (bytes, list, dict)

#: Path of a column, or of a field in its structs, and the class names of its numbers if it has any.
Picked = tuple[Sequence[str], Sequence[str]]


def values(batch: Any, picked: Sequence[Picked], name: str) -> Iterator[list[list[Any]]]:
    """The values of the picked columns, a slice of the batch at a time.

    Bytes that are not UTF-8 become lone surrogates, in lists and structs too. Raises DataError for a row of the file
    `name` that is too large.
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
    sizes = [_sizes(column) for column in columns] if rows else []
    for first in range(0, rows, ROWS):
        spans = [(first, min(first + ROWS, rows))]
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
    if types.is_struct(kind):
        parts = [_sizes(part) for part in column.flatten()]
        return lambda start, end: sum(part(start, end) for part in parts)
    if _has_offsets(kind):
        offsets, elements = column.offsets, _sizes(column.values)
        return lambda start, end: elements(offsets[start].as_py(), offsets[end].as_py())
    if types.is_fixed_size_list(kind):
        length, before, elements = kind.list_size, column.offset, _sizes(column.values)
        return lambda start, end: elements((before + start) * length, (before + end) * length)
    if _has_views(kind):
        ends = np.concatenate([[0], np.cumsum(_view_lengths(column), dtype=np.int64)])
        return lambda start, end: int(ends[end] - ends[start])
    if types.is_nested(kind) or types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        widest = _widest(column)
        return lambda start, end: (end - start) * widest
    return lambda start, end: int(column.slice(start, end - start).nbytes)


def _widest(values: Any) -> int:
    """An upper bound of the bytes of a value."""
    import pyarrow
    from pyarrow import compute, types

    kind = values.type
    if isinstance(values, pyarrow.ExtensionArray):
        return _widest(values.storage)
    if types.is_dictionary(kind):
        return _widest(values.dictionary)
    if types.is_run_end_encoded(kind):
        return _widest(values.values)
    if types.is_struct(kind):
        return sum(map(_widest, values.flatten()))
    if types.is_union(kind):
        return max((_widest(values.field(index)) for index in range(kind.num_fields)), default=0)
    if types.is_fixed_size_list(kind):
        return int(kind.list_size) * _widest(values.values)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return _longest(values.sizes.to_numpy()) * _widest(values.values)
    if _has_offsets(kind):
        return _longest(np.diff(values.offsets.to_numpy())) * _widest(values.values)
    if _has_views(kind):
        return _longest(_view_lengths(values))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return compute.max(compute.binary_length(values)).as_py() or 0
    return int(values.nbytes) if types.is_null(kind) else int(kind.bit_width) // 8 + 1


def _has_offsets(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind))


def _has_views(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string_view(kind) or types.is_binary_view(kind))


def _view_lengths(column: Any) -> np.ndarray:
    """The bytes of each value: its view begins with them."""
    views = np.frombuffer(column.buffers()[1] or b"", np.int32)[::4]
    return views[column.offset :][: len(column)]


def _longest(lengths: np.ndarray) -> int:
    return int(lengths.max(initial=0))


def _values(column: Any, classes: Sequence[str]) -> list[Any]:
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values: list[Any]
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(_with_bytes(column.type)).to_pylist()
    if classes:
        return [_named(value, classes) for value in values]
    return _all_decoded(values)


def _with_bytes(kind: Any) -> Any:
    """The type with bytes in place of strings."""
    import pyarrow
    from pyarrow import types

    if types.is_string(kind) or types.is_large_string(kind):
        return pyarrow.large_binary()
    if types.is_dictionary(kind):
        return _with_bytes(kind.value_type)
    if types.is_list(kind):
        return pyarrow.list_(_with_bytes(kind.value_type))
    if types.is_large_list(kind):
        return pyarrow.large_list(_with_bytes(kind.value_type))
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(_with_bytes(kind.value_type), kind.list_size)
    if types.is_struct(kind):
        return pyarrow.struct([(field.name, _with_bytes(field.type)) for field in kind])
    return kind


def _all_decoded(values: Sequence[Any]) -> list[Any]:
    """The values with strings in place of bytes."""
    return [_decoded(value) if isinstance(value, _MAY_HAVE_BYTES) else value for value in values]


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return _all_decoded(value)
    return {name: _decoded(each) for name, each in value.items()} if isinstance(value, dict) else value


def _named(value: Any, classes: Sequence[str]) -> Any:
    """The name of a class's number, or the names in a list; None for -1, which marks a row without a label."""
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    if not isinstance(value, int) or value == -1:
        return None
    return classes[value] if 0 <= value < len(classes) else value
