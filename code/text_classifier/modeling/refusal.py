"""The errors for a model that no classifier can be trained from. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from text_classifier.contract.errors import JobError, SettingsError, printable, scarce

#: The remedy for a folder that somebody has edited, or that was cut off while it was written.
SAVE_AGAIN = "save it again with save_pretrained"


def refused(what: str, remedy: str = SAVE_AGAIN) -> SettingsError:
    """The error with one sentence: what is wrong, naming the file and the key, and what to do."""
    return SettingsError(f"the model cannot be used: {what}; {remedy}")


def unreadable(path: Path, error: OSError) -> SettingsError:
    """The error of a file that this user may not read, or that the disk fails to read."""
    closed = isinstance(error, PermissionError)
    remedy = f"make it readable for user {os.geteuid()}" if closed else "copy it again"
    return refused(f"{printable(path.name)} cannot be read ({error.strerror})", remedy)


@contextmanager
def refusing(source: str, channel: Path | None, part: str) -> Iterator[None]:
    """Whatever a library raises while it loads this part of a model, the model is the cause, unless the
    machine lacks something."""
    try:
        yield
    except (MemoryError, JobError):
        raise
    except BaseException as error:
        if lacking := scarce(error):
            raise lacking from None
        # A panic in the tokenizers library is no Exception, so that nobody catches it by accident.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise SettingsError(_not_loaded(source, channel, part, error)) from None
        raise


def _not_loaded(source: str, channel: Path | None, part: str, error: BaseException) -> str:
    # The first line of huggingface_hub's validation names the key, the second says what is wrong with it.
    reason = printable(" ".join((str(error).strip() or type(error).__name__).split("\n")[:2]))[:300]
    if isinstance(error, KeyError | AttributeError | TypeError):  # these name a key or a type, and nothing else
        reason = f"{type(error).__name__}: {reason}"
    if channel:
        return f"the model in the channel 'model' cannot be loaded ({part}: {reason}); {SAVE_AGAIN}"
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return (
        f"model_name={source!r} cannot be loaded from the hub{offline}: {reason}; check the spelling, or give the job "
        "a `model` channel if it has no network"
    )
