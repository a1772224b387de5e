"""The records of a request in lines, for a model of pairs: JSON lines and CSV with the two texts of each pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from text_classifier.contract.errors import printable
from text_classifier.reading.fields import joined
from text_classifier.reading.pairs import pair
from text_classifier.serving.records import BadRecord, Record, csv_records, lines, parsed

#: The keys of transformers' pipelines.
KEYS = (("text",), ("text_pair",))

#: Of each text, its names or its positions in a record.
Both = tuple[Sequence[Any], Sequence[Any]]


def of_json_lines(content: str, pair_columns: Sequence[str]) -> Iterator[Record]:
    """Each line is an object with a pair, under the model's text columns or the keys of transformers."""
    return (_json_line(line, pair_columns) for line in lines(content))


def _json_line(line: str, pair_columns: Sequence[str]) -> Record:
    def read(columns: Sequence[str]) -> str:
        value = parsed(line)
        if isinstance(value, dict) and isinstance(value.get("inputs"), dict):
            value = value["inputs"]
        if not isinstance(value, dict):
            raise BadRecord("is a single text or none, and the model classifies pairs")
        names = _first_present(value, columns, pair_columns)
        if names is None:
            expected = printable(", ".join((*columns, *pair_columns)))
            raise BadRecord(f"has neither 'text' and 'text_pair' nor {expected!r}")
        return pair(*(joined([value[name] for name in each], each) for each in names))

    return read


def of_csv(
    content: str, columns: Sequence[str], pair_columns: Sequence[str], *, is_by_line: bool = False
) -> tuple[Iterator[Record], bool]:
    """As records.of_csv. The cells are the two texts, or those of all text columns, in the order of the header."""
    records = csv_records(content, is_by_line=is_by_line)
    header = [cell.strip() for cell in (records[0] if records else None) or []]
    names = _first_present(header, columns, pair_columns)
    has_header = names is not None and {*header} <= {*names[0], *names[1]}
    if names is not None and has_header:
        first, second = ([header.index(name) for name in each] for each in names)
        return (_csv_record(cells, {len(header): (first, second)}) for cells in records[1:]), True
    end, count = len(columns), len(columns) + len(pair_columns)
    layouts: dict[int, Both] = {2: ((0,), (1,)), count: (range(end), range(end, count))}
    return (_csv_record(cells, layouts) for cells in records), False


def _csv_record(cells: list[str] | None, layouts: Mapping[int, Both]) -> Record:
    """`layouts`: where both texts are in a record, by its number of cells."""

    def read(columns: Sequence[str]) -> str:
        if cells is None:
            raise BadRecord("is not CSV")
        if not cells:
            raise BadRecord("is an empty line")
        if len(cells) not in layouts:
            found = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            raise BadRecord(f"has {found}, and a pair of texts has {' or '.join(map(str, layouts))}")
        return pair(*(joined([cells[i] for i in each], [str(i + 1) for i in each]) for each in layouts[len(cells)]))

    return read


def _first_present(present: Any, columns: Sequence[str], pair_columns: Sequence[str]) -> Both | None:
    """The names of both texts in what a record has: the model's columns, or else the keys of transformers."""
    for names in ((columns, pair_columns), KEYS):
        if all(name in present for each in names for name in each):
            return names
    return None
