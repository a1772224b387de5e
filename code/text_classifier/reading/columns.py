"""Choice of a file's text, label, group and slice columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from text_classifier.contract.errors import DataError, SettingsError, printable, similar
from text_classifier.reading.table import MISSING, column_name

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

#: What the columns of other data sets are called.
_TEXTS = ("text", "sentence", "review", "content", "body", "comment", "comment_text", "message", "tweet", "description")
_LABELS = ("label", "labels", "sentiment", "category", "class", "target", "rating", "stars", "intent", "topic")

#: Columns of a file listed in a message, and characters of each value of its first row.
LISTED, SHOWN_CHARACTERS = 20, 40


class NoColumn(DataError):
    """A file lacks a column that is named by `hyperparameter`, or expected without it."""

    def __init__(self, message: str, hyperparameter: str = "") -> None:
        super().__init__(message)
        self.hyperparameter = hyperparameter


class SeveralLabels(DataError):
    """A file has several columns that may be the label, and no hyperparameter names one."""


@dataclass(frozen=True)
class Chosen:
    """The chosen columns of a file. Its rows have their fields in the order of `names`."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()  #: one, or one for each label
    group: str = ""
    slice: str = ""
    id: str = ""
    pairs: tuple[str, ...] = ()  #: of the second text, if rows are pairs

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.texts, *self.pairs, *self.labels, *filter(None, (self.group, self.slice, self.id)))


@dataclass(frozen=True)
class Columns:
    """The columns that the hyperparameters name; for empty texts and label the names of LAYOUTS are tried."""

    texts: tuple[str, ...] = ()
    label: str = ""
    labels: tuple[str, ...] = ()  #: one column for each label, in place of `label`
    group: str = ""
    slice: str = ""
    id: str = ""
    requires_id: bool = True  #: else a file without the id column is read without it
    pairs: tuple[str, ...] = ()  #: of the second text, if rows are pairs

    def __post_init__(self) -> None:
        """Raises SettingsError for a column of both texts of a pair, or twice in the second."""
        if both := [column for column in self.pairs if column in self.texts]:
            raise SettingsError(
                f"column {both[0]!r} is in text_columns and in text_pair_columns; remove it from one of them"
            )
        if repeated := [column for index, column in enumerate(self.pairs) if column in self.pairs[:index]]:
            raise SettingsError(f"column {repeated[0]!r} is in text_pair_columns twice; remove it once")

    @property
    def given(self) -> list[str]:
        """The hyperparameters that name columns."""
        named = {
            "text_columns": self.texts,
            "text_pair_columns": self.pairs,
            "label_column": self.label,
            "label_columns": self.labels,
            "group_column": self.group,
            "slice_column": self.slice,
            "id_column": self.id,
        }
        return [hyperparameter for hyperparameter, names in named.items() if names]

    def choose(self, name: str, columns: Sequence[str], first: Sequence[Any] = ()) -> Chosen:
        """Choose from the columns of the file `name`, whose first row is `first`.

        Raises DataError that names the file, the hyperparameter to set, and the most similar column.
        """
        texts = self.choose_texts(name, columns, first)
        if self.labels:
            label = _first("label_columns", [self.labels], name, columns, first)
        else:
            labels = [self.label] if self.label else _possible_labels(name, columns)
            label = _first("label_column", [(label,) for label in labels], name, columns, first)
        for hyperparameter in ("group", "slice"):
            if column := getattr(self, hyperparameter):
                _first(f"{hyperparameter}_column", [(column,)], name, columns, first)
        for hyperparameter, chosen in (("text_columns", texts.texts), ("text_pair_columns", texts.pairs)):
            if leaked := [column for column in chosen if column in label]:
                raise DataError(
                    f"column {leaked[0]!r} of {name} is the label, which a text must not contain; remove it from "
                    f"{hyperparameter}, or set label_column{'s' if self.labels else ''} to another column"
                )
        return replace(texts, labels=label, group=self.group, slice=self.slice)

    def choose_texts(self, name: str, columns: Sequence[str], first: Sequence[Any] = ()) -> Chosen:
        """Choose the text and id columns only. Raises DataError as `choose` does."""
        layouts = [layout for layout in LAYOUTS if layout != _AMBIGUOUS]
        candidates = [self.texts] if self.texts else [texts for texts, _ in (*_complete(columns), *layouts)]
        texts = _first("text_columns", candidates, name, columns, first)
        if self.pairs:
            _first("text_pair_columns", [self.pairs], name, columns, first)
        if self.id and self.requires_id:
            _first("id_column", [(self.id,)], name, columns, first)
        return Chosen(texts, id=self.id if self.id in columns else "", pairs=self.pairs)


def has_columns(choose: Callable[[list[str], Sequence[Any]], object], names: list[str]) -> bool:
    """Whether the wanted columns are among these names, even if several may be the label."""
    try:
        choose(names, ())
    except SeveralLabels:
        return True
    except DataError:
        return False
    return True


def is_usual(column: str) -> bool:
    """Whether a column is called as columns of texts or labels usually are."""
    return column.casefold() in (*_TEXTS, *_LABELS)


def names_of(text: str, hyperparameter: str) -> tuple[str, ...]:
    """The names in a hyperparameter: comma-separated, or a JSON list, in which a name may hold a comma.

    Raises SettingsError.
    """
    if not text.strip().startswith("["):
        return tuple(column_name(part) for part in text.split(",") if part.strip())
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise SettingsError(f'{hyperparameter}={text!r} is not a JSON list of names; write it as in ["title", "a, b"]')
    return tuple(map(column_name, names))


def _complete(columns: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """The layouts whose text and label columns are all there."""
    return [layout for layout in LAYOUTS if set(columns).issuperset((*layout[0], layout[1]))]


def _possible_labels(name: str, columns: Sequence[str]) -> list[str]:
    """The label columns to try: those of the layouts that are complete, and `label`; without such layouts all.

    Raises SeveralLabels if the file `name` has more than one of them.
    """
    complete = _complete(columns)
    labels = list(dict.fromkeys(label for _, label in ((*complete, LAYOUTS[-1]) if complete else LAYOUTS)))
    found = [label for label in labels if label in columns]
    if len(found) > 1:
        raise SeveralLabels(
            f"{name} has several possible label columns ({', '.join(found)}); set label_column to one of them"
        )
    return labels


def _first(
    hyperparameter: str, candidates: Sequence[tuple[str, ...]], name: str, columns: Sequence[str], first: Sequence[Any]
) -> tuple[str, ...]:
    """The first candidate whose columns are all in the file. Raises DataError."""
    for candidate in candidates:
        if set(columns).issuperset(candidate):
            return candidate
    missing = next(column for column in candidates[-1] if column not in columns)
    nearest = similar(missing, columns)
    hint = f"did you mean {nearest!r}? " if nearest else ""
    whole = next((joined for joined in (", ".join(candidates[-1]), ",".join(candidates[-1])) if joined in columns), "")
    if whole and len(candidates[-1]) > 1:
        hint = (
            f"write a name with a comma in a JSON list: {hyperparameter}={json.dumps([whole], ensure_ascii=False)}; or "
        )
    named = " or ".join(repr(",".join(candidate)) for candidate in dict.fromkeys(candidates))
    listed = ", ".join(column[:60] for column in columns[:LISTED])
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    raise NoColumn(
        f"{name} has no column {named}; {hint}set {hyperparameter} to one of its columns: {printable(listed)}{more}"
        f"{_values(columns, first)}{_proposal(columns, first)}",
        hyperparameter,
    )


def _values(columns: Sequence[str], first: Sequence[Any]) -> str:
    """The first row, for a message."""
    if len(first) != len(columns) or len(columns) > LISTED:
        return ""
    shown = ", ".join("" if value is MISSING or value is None else str(value)[:SHOWN_CHARACTERS] for value in first)
    return f" (first row: {printable(shown)})"


def _proposal(columns: Sequence[str], first: Sequence[Any]) -> str:
    """Settings that would read the file, where its columns are called as texts and labels usually are."""
    texts = [column for column in columns if column.casefold() in _TEXTS]
    labels = [column for column in columns if column.casefold() in _LABELS]
    settings = [f"text_columns={texts[0]}"] if len(texts) == 1 else []
    if len(labels) == 1:
        settings.append(f"label_column={labels[0]}")
    marks = [column for column, value in zip(columns, first, strict=False) if str(value) in ("0", "1")]
    if not labels and len(marks) > 1:
        settings.append(f"task=multi_label label_columns={','.join(marks[:LISTED])}")
    return printable(f"; try {' '.join(settings)}") if len(settings) == 2 else ""
