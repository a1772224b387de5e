"""What the headers of a folder's safetensors files say, checked against the files themselves before any is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import printable, quoted
from text_classifier.modeling.refusal import refused, unreadable

#: The format's own limit, in bytes.
_LONGEST_HEADER = 100_000_000

#: Tensors that a model may have. Large classifiers have 400.
MOST_TENSORS = 20_000

#: dtypes that weights can be trained from.
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Tensor:
    """A tensor as the header declares it."""

    dtype: str
    shape: tuple[int, ...]


def declared_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of the folder's .safetensors files by name.

    Raises SettingsError for a header that is damaged or declares more than the file holds, for files without tensors,
    for quantized weights, and for an index that leads out of the folder.
    """
    _require_index(folder)
    tensors = {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in _of_file(path)}
    if not tensors:
        raise refused("its .safetensors files hold no tensors", "copy the whole file, or save it with save_pretrained")
    for name, tensor in tensors.items():
        if name.endswith((".weight", ".bias")) and tensor.dtype not in _FLOATS:
            raise refused(
                f"its weights are quantized ({printable(name)} is {printable(tensor.dtype)})",
                "provide the unquantized model",
            )
    return tensors


def _of_file(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            room = path.stat().st_size - 8 - length
            if room < 0 or length > _LONGEST_HEADER:
                raise ValueError("it is truncated, or not a safetensors file")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        if len(header) > MOST_TENSORS:  # each takes transformers a part of a millisecond
            raise ValueError(f"it holds {len(header):,} tensors, and models at most {MOST_TENSORS:,}")
        for name, entry in header.items():
            if name != "__metadata__":
                yield name, _tensor(name, entry, room)
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 too
        raise refused(f"{path.name}: {printable(str(error))[:200]}") from None


def _tensor(name: str, entry: Any, room: int) -> Tensor:
    """The entry of one tensor. Raises ValueError if it declares anything but `room` bytes of data at most."""
    if not isinstance(entry, dict):
        raise ValueError(f"its header has {quoted(entry)} for {quoted(name)}")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"its header has no valid dtype, shape and data_offsets for {quoted(name)}")
    start, end = offsets
    if not start <= end <= room:
        raise ValueError(f"{quoted(name)} lies beyond the end of the file")
    # The smallest dtypes have 4 bits.
    if math.prod(shape) > 2 * (end - start):
        raise ValueError(f"{quoted(name)} has the shape {quoted(shape)}, and {end - start:,} bytes of data")
    return Tensor(dtype, tuple(shape))


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _require_index(folder: Path) -> None:
    """Raise SettingsError for an index with files that are not in the folder."""
    path = folder / INDEX
    if not path.exists():
        return
    try:
        files = set(json.loads(path.read_bytes())["weight_map"].values())
        missing = sorted(name for name in files if Path(name).name != name or not (folder / name).is_file())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise refused(f"{INDEX} is damaged") from None
    if missing:
        raise refused(f"{INDEX} names {quoted(missing[0])}, which is not in the folder", "copy all files of the model")
