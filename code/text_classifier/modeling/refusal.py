"""The error for a model that no classifier can be trained from."""

from __future__ import annotations

from text_classifier.contract.errors import SettingsError

#: The remedy for a folder that somebody has edited, or that was cut off while it was written.
SAVE_AGAIN = "save it again with save_pretrained"


def refused(what: str, remedy: str = SAVE_AGAIN) -> SettingsError:
    """The error with one sentence: what is wrong, naming the file and the key, and what to do."""
    return SettingsError(f"the model cannot be used: {what}; {remedy}")
