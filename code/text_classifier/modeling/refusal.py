"""The error for a model that no classifier can be trained from."""

from __future__ import annotations

from text_classifier.contract.errors import SettingsError, printable

#: The remedy for a folder that somebody has edited, or that was cut off while it was written.
SAVE_AGAIN = "save it again with save_pretrained"

#: Characters of a value that a message quotes.
_QUOTED = 60


def refused(what: str, remedy: str = SAVE_AGAIN) -> SettingsError:
    """The error with one sentence: what is wrong, naming the file and the key, and what to do."""
    return SettingsError(f"the model cannot be used: {what}; {remedy}")


def quoted(value: object) -> str:
    """A value from a file of the model, for a message: on one line, and not the whole of a long one."""
    try:
        text = printable(repr(value))
    except ValueError:  # an integer of more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
