"""Parquet and Arrow files: columns of one type each, read batch by batch.

Arrow files are those of Feather and of `save_to_disk` of Hugging Face's datasets. A dataset's class names, which its
schema carries, take the place of the classes' numbers.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from text_classifier.contract.errors import DataError, printable, scarce
from text_classifier.reading.arrow_messages import read_batch, record_batches
from text_classifier.reading.arrow_values import Picked, values
from text_classifier.reading.bounds import require_decoded
from text_classifier.reading.content import compression, require_pyarrow
from text_classifier.reading.parquet_files import ParquetFile
from text_classifier.reading.table import OpenFile, RecordBatches, Row

#: What pyarrow raises for damaged files besides its own errors; a damaged length asks for more memory than there is.
_DAMAGE = (OSError, ValueError, OverflowError, MemoryError, EOFError, LookupError, TypeError)

#: Last bytes of an Arrow stream.
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def parquet_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of a Parquet file. Raises DataError when it is damaged."""
    return _rows(file, "Parquet", _parquet)


def arrow_rows(file: OpenFile) -> Iterator[Row]:
    """The rows of an Arrow file, or of an Arrow stream. Raises DataError when it is damaged."""
    return _rows(file, "Arrow", _arrow)


def _rows(file: OpenFile, kind: str, read: Callable[[OpenFile, IO[bytes]], Iterator[Any]]) -> Iterator[Row]:
    require_pyarrow(file.name)
    import pyarrow

    file.unit = "row"
    number = 0
    try:
        with file.path.open("rb") as plain, tempfile.TemporaryFile() as unpacked:
            stream: IO[bytes] = plain
            if compression(plain.read(4)):  # Parquet is read from its end
                unpacked.writelines(file.content)
                stream = unpacked
            stream.seek(0)
            for columns in read(file, stream):
                for row in zip(*columns, strict=True):
                    number += 1
                    yield number, number, row
        file.records = file.lines = number
    except (pyarrow.ArrowException, *_DAMAGE) as error:
        if isinstance(error, OSError) and (lacking := scarce(error)):
            raise lacking from None
        reason = printable(str(error).partition("\n")[0]) or type(error).__name__
        raise DataError(f"{file.name} cannot be read as {kind} ({reason}); upload it again") from None


def _parquet(file: OpenFile, stream: IO[bytes]) -> Iterator[list[Any]]:
    table = ParquetFile(stream, file.name)
    if not table.rows:
        return  # a part without rows, as pandas and Spark leave it, may lack the columns too
    picked = _pick(file, table.schema)
    table.pick([path[0] for path, _ in picked])
    file.layout, file.rows = table.layout(), table.rows
    _require_few_rows(file, stream)
    for index in table.row_groups(file.part):
        for batch in table.batches(index):
            yield from values(batch, picked, file.name)


def _arrow(file: OpenFile, stream: IO[bytes]) -> Iterator[list[Any]]:
    from pyarrow import ipc

    is_stream = stream.read(4) == _END_OF_STREAM[:4]
    stream.seek(-len(_END_OF_STREAM), os.SEEK_END)
    if is_stream and stream.read() != _END_OF_STREAM:  # pyarrow takes a stream that is cut between batches as whole
        raise DataError(f"{file.name} is truncated: its Arrow stream does not end; upload it again")
    stream.seek(0)
    table = ipc.open_stream(stream) if is_stream else ipc.open_file(stream)
    picked = _pick(file, table.schema)
    for whole in _batches(file, stream, table, is_stream=is_stream):
        whole.validate(full=True)  # a damaged offset would read memory that is not the file's
        yield from values(whole, picked, file.name)


def _batches(file: OpenFile, stream: IO[bytes], table: Any, *, is_stream: bool) -> Iterator[Any]:
    """The record batches of a part of an Arrow file, by their offsets if these are known."""
    layout = file.part.layout
    if not isinstance(layout, RecordBatches):
        layout = record_batches(stream, file.name)
    if layout and (is_stream or table.num_record_batches == len(layout.starts)):
        file.layout, file.rows = layout, layout.rows
        _require_few_rows(file, stream)
        for index in file.part.picked(layout.starts):
            yield read_batch(stream, layout.starts[index], table.schema)
        return
    for batch in table if is_stream else map(table.get_batch, range(table.num_record_batches)):
        file.rows += len(batch)
        _require_few_rows(file, stream)
        yield batch


def _require_few_rows(file: OpenFile, stream: IO[bytes]) -> None:
    """Raise DataError for rows without end: where all are alike, their number alone takes space in the file."""
    require_decoded(file.name, os.fstat(stream.fileno()).st_size, file.rows)


def _pick(file: OpenFile, schema: Any) -> list[Picked]:
    """The path of each chosen column, and the class names of its numbers if it has any."""
    own = set(schema.names)
    paths = {name: (name,) for name in schema.names} | {
        ".".join(path): path for field in schema for path in _nested(field) if ".".join(path) not in own
    }
    names = [*schema.names, *(name for name in paths if name not in own)]
    try:
        chosen = file.picker(names)(names)
    except DataError:
        if "input_ids" in schema.names:
            raise DataError(f"{file.name} is tokenized already (it has input_ids); save the texts instead") from None
        raise
    features = _features(schema)
    return [(paths[name], _class_names(_feature(features, paths[name]))) for name in chosen]


def _nested(field: Any) -> Iterator[tuple[str, ...]]:
    """The paths of the fields of a struct."""
    import pyarrow

    if pyarrow.types.is_struct(field.type):
        for inner in field.type:
            yield (field.name, inner.name)
            yield from ((field.name, *path) for path in _nested(inner))


def _features(schema: Any) -> dict[str, Any]:
    """What Hugging Face's datasets says of the columns; empty where it says nothing."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _feature(features: Any, path: Sequence[str]) -> Any:
    """What Hugging Face's datasets says of a column, or of a field in its structs; None where it says nothing."""
    for name in path:
        features = features.get(name) if isinstance(features, dict) else None
    return features


def _class_names(feature: Any) -> Sequence[str]:
    """The names of a ClassLabel, or of a list of them."""
    while isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    if isinstance(feature, list) and len(feature) == 1:  # how older versions write a list
        feature = feature[0]
    is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    names = feature.get("names") if is_label else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
