"""Failures with a known cause, and the file through which SageMaker shows them.

Every error that a person can mend is raised as one of the classes below, with one sentence that says what is wrong,
where, and what to do. Anything else that reaches the top is a bug of this project and is reported as one.
"""

from __future__ import annotations

import traceback
from pathlib import Path

#: SageMaker shows the first 1024 characters of the failure file as the job's FailureReason.
FAILURE_BYTES = 1024


class JobError(Exception):
    """A failure whose cause is known. `cause` says whose it is; the message is one sentence with a remedy."""

    cause = "The platform"


class UserError(JobError):
    """Something that the person who started the job can put right."""

    cause = "Your settings"


class SettingsError(UserError):
    """A hyperparameter, a channel name or a model name that cannot work."""


class DataError(UserError):
    """A file that cannot be read, or that does not hold what was promised."""

    cause = "Your data"


class PlatformError(JobError):
    """The machine, the container or the network did not give what the contract promises."""


def describe(error: BaseException) -> str:
    """Say in at most 1024 bytes of UTF-8 what ended the job; the first line alone is enough to act on."""
    if isinstance(error, JobError):
        text = f"{error.cause}: {error}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = (
            f"A bug in the training code: {type(error).__name__}{where}; the traceback is in the job's log, "
            f"please report it.\n{error}"
        )
    return text.encode()[:FAILURE_BYTES].decode(errors="ignore")
