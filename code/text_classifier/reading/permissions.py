"""Files and folders that this user may not read, and the sentences that name them."""

from __future__ import annotations

import os
from pathlib import Path

from text_classifier.contract.errors import DataError, printable


def forbidden(name: str, error: PermissionError) -> DataError:
    """The error for a file or folder that this user may not read."""
    return DataError(f"{name} cannot be read ({error.strerror}); make it readable for user {os.geteuid()}")


def forbidden_below(top: Path, error: PermissionError) -> DataError:
    """As `forbidden`, for what a walk through the folder `top` met: a closed folder is named, not a file in it."""
    at = Path(error.filename)
    if at != top and not os.access(at.parent, os.X_OK, effective_ids=True):
        at = at.parent
    return forbidden(printable(str(top.name / at.relative_to(top))), error)


def require_permission(error: OSError) -> None:
    """Raise the error of a folder that os.walk would pass over."""
    if isinstance(error, PermissionError):
        raise error


def stat_of(path: Path) -> os.stat_result | None:
    """What is at a path that a user gave; None if there is nothing. Raises DataError where this user may not know."""
    try:
        return path.stat()
    except PermissionError as error:
        raise forbidden(printable(str(path)), error) from None
    except OSError:  # also for a name that is too long
        return None
