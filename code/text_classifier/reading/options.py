"""How to read files, from the hyperparameters of a job or of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from text_classifier.contract.hyperparameters import TABLE
from text_classifier.reading.columns import names_of
from text_classifier.reading.table import FileOptions

#: The hyperparameters that say how to read the text of a file.
READING = (
    "text_columns", "text_pair_columns", "id_column", "encoding", "delimiter", "has_header", "columns", "records_key",
)  # fmt: skip


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The READING hyperparameters; a model that was trained before one existed has its default."""
    return {row.name: values.get(row.name, row.default) for row in TABLE if row.name in READING}


def file_options(values: Mapping[str, Any]) -> FileOptions:
    """The FileOptions of these hyperparameters. Raises SettingsError."""
    return FileOptions(
        encoding=values["encoding"].strip(),
        delimiter=values["delimiter"],
        has_header=values["has_header"],
        columns=names_of(values["columns"], "columns"),
        records_key=values["records_key"].strip(),
    )
