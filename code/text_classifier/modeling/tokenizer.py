"""The tokenizer of a model, without the model. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from text_classifier.modeling.files import model_directory
from text_classifier.modeling.refusal import refusing


def load_tokenizer(channel: Path | None, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer from the `model` channel, or by name from the hub. Raises SettingsError if it cannot be loaded."""
    return read_tokenizer(str(model_directory(channel, lambda choice: None)) if channel else name, channel)


def read_tokenizer(source: str, channel: Path | None) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, which is in `channel`; without a channel, that of a name on the hub.

    Raises SettingsError if it cannot be loaded.
    """
    with refusing(source, channel, "its tokenizer"):
        return AutoTokenizer.from_pretrained(source, local_files_only=channel is not None, trust_remote_code=False)
