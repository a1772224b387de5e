"""Failures with a known cause, and the words in which SageMaker shows them.

Every error that a person can mend is raised as one of the classes below, with one sentence that says what is wrong,
where, and what to do. Anything else that reaches the top is a bug of this project and is reported as one.
"""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from text_classifier.contract.redaction import redact

#: Where all of our own code lies, the commands beside the package among it.
CODE = Path(__file__).resolve().parents[2]

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


class PeerError(JobError):
    """Another process of the job has failed. `reason` is what it said itself, cause included."""

    def __init__(self, reason: str, host: str) -> None:
        self.cause, _, sentence = reason.partition(": ")
        super().__init__(f"{sentence} [reported by {host}]")


def describe(error: BaseException) -> str:
    """Say in at most 1024 bytes of UTF-8 what ended the job; the first line alone is enough to act on."""
    if isinstance(error, JobError):
        text = f"{error.cause}: {error}"
    else:
        text = (
            f"A bug in the training code: {type(error).__name__}{_place(error)}; the traceback is in the job's log, "
            f"please report it.\n{error}"
        )
    return redact(text).encode()[:FAILURE_BYTES].decode(errors="ignore")


def printable(text: str) -> str:
    """A name as one line of a message: line feeds, control characters and what is not UTF-8 are escaped."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """The sentence that is enough to act on."""
    return describe(error).splitlines()[0]


def _place(error: BaseException) -> str:
    """Where in our own code the error came up: a line inside a library says little."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(CODE)] or frames
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


#: What CUDA and cuBLAS say themselves.
SIGNS_OF_FULL_GPU = ("CUDA error: out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")


def _says_that_gpu_is_full(error: BaseException | None) -> bool:
    """Itself, or by one that it came after: where memory runs out while a step is recorded, that fails as well."""
    if error is None:
        return False
    # torch.OutOfMemoryError, without importing torch
    is_full = type(error).__name__ == "OutOfMemoryError" or any(sign in str(error) for sign in SIGNS_OF_FULL_GPU)
    return is_full or _says_that_gpu_is_full(error.__context__)


def explain(error: Exception, setting: str, batch_size: int) -> Exception:
    """The JobError for what only a library notices, want of memory or disk; other errors as they are.

    `setting` is the name of the setting that `batch_size`, the rows of a batch, comes from.
    """
    if isinstance(error, JobError):
        return error
    text = str(error)
    if _says_that_gpu_is_full(error):
        smaller = f"{setting}={batch_size // 2}, " if batch_size > 1 else ""
        return SettingsError(
            f"the GPU ran out of memory with {setting}={batch_size}; take {smaller}a smaller max_sequence_length or an "
            f"instance with more GPU memory\n{text}"
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: " in text or "Cannot allocate memory" in text:
        return out_of_host_memory()
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        return PlatformError(f"the disk is full{_place(error)}; give the job a larger volume (--volume-size)\n{text}")
    return error


def out_of_host_memory() -> PlatformError:
    """What a process cannot say any more that the system killed for want of memory."""
    return PlatformError(
        "the host ran out of memory, so training was killed; take an instance with more memory, "
        "or a smaller train_batch_size or max_data_rows"
    )


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, for a message."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the known one that is most like it, else all of them."""
    names = list(known)
    found = similar(name, names)
    return f"did you mean {found}?" if found else f"the known ones are {', '.join(names)}"


def similar(name: str, known: Sequence[str]) -> str | None:
    """The known name that is most like this one, if any is."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)
