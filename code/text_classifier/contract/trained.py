"""The manifest of a trained model, as those who use the model read it."""

from __future__ import annotations

from pathlib import Path

from text_classifier.contract import schema
from text_classifier.contract.schema import Manifest

#: The keys that are used; a model from before the manifest had a schema version must have them.
NEEDED = (
    "classes",
    "temperature",
    *(
        f"hyperparameters.{name}"
        for name in ("task", "label_separator", "text_columns", "max_sequence_length", "precision")
    ),
    "hyperparameters.collective_timeout_seconds",
)


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a model folder.

    Raises SettingsError for one of another schema, OSError and ValueError for one that cannot be read.
    """
    return schema.read(folder / schema.MANIFEST, Manifest, NEEDED)


def has_pairs(manifest: Manifest) -> bool:
    """Whether the model was trained on pairs of texts."""
    return bool(manifest["hyperparameters"].get("text_pair_columns", "").strip())


def truncation_of(manifest: Manifest) -> str:
    """Which tokens of long texts the model reads, as the hyperparameter `truncation` says it."""
    return str(manifest["hyperparameters"].get("truncation", "head"))
