"""Choice of a file's text, label, group and slice columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text_classifier.contract.errors import DataError, printable, similar

#: Text columns and label column of the Amazon review files (15-column TSV, 2014 and 2018 JSON, 2023 JSON), then the
#: generic names.
LAYOUTS = (
    (("review_headline", "review_body"), "star_rating"),
    (("summary", "reviewText"), "overall"),
    (("title", "text"), "rating"),
    (("text",), "label"),
)

#: `title` and `text` are a layout only with `rating`: other files have columns of these names too.
_AMBIGUOUS = LAYOUTS[2]

#: Columns of a file listed in a message.
LISTED = 20


@dataclass(frozen=True)
class Columns:
    """The columns that the hyperparameters name; for an empty one the names of LAYOUTS are tried."""

    texts: tuple[str, ...] = ()
    label: str = ""
    group: str = ""
    slice: str = ""

    def choose(self, name: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Choose from the columns of the file `name`: texts, label, then group and slice if they are configured.

        Raises DataError that names the file, the hyperparameter to set, and the most similar column.
        """
        texts = self.choose_texts(name, columns)
        labels = [(self.label,)] if self.label else [(label,) for _, label in (*_complete(columns), *LAYOUTS)]
        label = _first("label_column", labels, name, columns)
        group = _first("group_column", [(self.group,)], name, columns) if self.group else ()
        sliced = _first("slice_column", [(self.slice,)], name, columns) if self.slice else ()
        return (*texts, *label, *group, *sliced)

    def choose_texts(self, name: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Choose the text columns only. Raises DataError as `choose` does."""
        layouts = [layout for layout in LAYOUTS if layout != _AMBIGUOUS]
        texts = [self.texts] if self.texts else [texts for texts, _ in (*_complete(columns), *layouts)]
        return _first("text_columns", texts, name, columns)


def columns_of(text: str) -> tuple[str, ...]:
    """The names in the hyperparameter text_columns."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _complete(columns: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """The layouts whose text and label columns are all there."""
    return [layout for layout in LAYOUTS if set(columns).issuperset((*layout[0], layout[1]))]


def _first(
    hyperparameter: str, candidates: Sequence[tuple[str, ...]], name: str, columns: Sequence[str]
) -> tuple[str, ...]:
    """The first candidate whose columns are all in the file. Raises DataError."""
    for candidate in candidates:
        if set(columns).issuperset(candidate):
            return candidate
    missing = next(column for column in candidates[-1] if column not in columns)
    nearest = similar(missing, columns)
    hint = f"did you mean {nearest!r}? " if nearest else ""
    named = " or ".join(repr(",".join(candidate)) for candidate in dict.fromkeys(candidates))
    listed = ", ".join(column[:60] for column in columns[:LISTED])
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    raise DataError(
        f"{name} has no column {named}; {hint}set {hyperparameter} to one of its columns: {printable(listed)}{more}"
    )
