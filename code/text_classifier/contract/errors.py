"""Errors with a known cause, and the failure reason that SageMaker shows for them.

Every error that a user can fix is raised as one of the classes below, with one sentence that says what is wrong,
where, and what to do. Any other exception that ends a job is a bug of this project and is reported as one.
"""

from __future__ import annotations

import difflib
import errno
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from text_classifier.contract.limits import file_limit, memory_limit, process_limit
from text_classifier.contract.metric_names import without_metrics
from text_classifier.contract.redaction import redact

#: The root of this project's code: the commands and the package.
CODE = Path(__file__).resolve().parents[2]

#: SageMaker shows the first 1024 characters of the failure file as the job's FailureReason.
FAILURE_BYTES = 1024


class JobError(Exception):
    """An error with a known cause. `cause` says who can fix it; the message is one sentence with a remedy."""

    cause = "The platform"


class UserError(JobError):
    """An error that the user who started the job can fix."""

    cause = "Your settings"


class SettingsError(UserError):
    """A hyperparameter, channel or model that cannot be used."""


class DataError(UserError):
    """A data file that cannot be read, or rows that cannot be trained on."""

    cause = "Your data"


class ScriptError(UserError):
    """An error of a user's own script, which runs in place of the image's training."""

    cause = "Your script"


class PlatformError(JobError):
    """The machine, the container or the network does not provide what a job needs."""


class PeerError(JobError):
    """Another process of the job failed. `reason` is that process's own failure reason, as `describe` returns it."""

    def __init__(self, reason: str, host: str) -> None:
        self.cause, _, sentence = reason.partition(": ")
        super().__init__(f"{sentence} [reported by {host}]")


class PreparationError(JobError):
    """The process that prepares the data refused the model. `reason`: as `describe` returns it."""

    def __init__(self, reason: str) -> None:
        self.cause, _, sentence = reason.partition(": ")
        super().__init__(sentence)


def describe(error: BaseException) -> str:
    """The failure reason, at most FAILURE_BYTES of UTF-8, without secrets. Its first line is enough to act on."""
    if not isinstance(error, JobError):
        error = scarce(error) or error
    if isinstance(error, JobError):
        text = f"{error.cause}: {error}"
    else:
        text = (
            f"A bug in the training code: {type(error).__name__}{_place(error)}; the traceback is in the job's log, "
            f"please report it.\n{error}"
        )
    text = "\n".join(map(printable, text.split("\n")))  # it may quote data
    return redact(text).encode()[:FAILURE_BYTES].decode(errors="ignore")


def printable(text: str) -> str:
    """`text` on one line, for the log: control characters, line feeds and lone surrogates are escaped, and what
    SageMaker would read as a metric."""
    if text.isprintable():
        return without_metrics(text)
    return without_metrics("".join(each if each.isprintable() else repr(each)[1:-1] for each in text))


#: Characters of a value that a message quotes.
QUOTED = 60


def quoted(value: object) -> str:
    """A value that is wrong, for a message: as Python writes it, on one line, without secrets, cut where it is long."""
    try:
        text = printable(redact(repr(value)))  # before it is cut: half a secret is not recognized
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}... ({len(text):,} characters)"


def print_traceback() -> None:
    """As traceback.print_exc: the error that is handled, with what its message quotes from data made printable."""
    print("\n".join(map(printable, traceback.format_exc().rstrip().split("\n"))), file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """The failure reason's first line, which is enough to act on."""
    return describe(error).splitlines()[0]


def _place(error: BaseException) -> str:
    """File and line of the innermost frame in this project's code, else of the innermost frame."""
    frames = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in frames if Path(frame.filename).is_relative_to(CODE)] or frames
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


#: Messages of CUDA and cuBLAS when GPU memory runs out.
GPU_OUT_OF_MEMORY = ("CUDA error: out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")


def is_gpu_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one in its context, is a GPU's: running out during capture makes the capture fail too."""
    if error is None:
        return False
    # torch.OutOfMemoryError, without importing torch
    is_full = type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in GPU_OUT_OF_MEMORY)
    return is_full or is_gpu_out_of_memory(error.__context__)


def explain(error: Exception, setting: str, batch_size: int) -> Exception:
    """The JobError for an error that a library raised because memory or disk ran out; any other error unchanged.

    `setting` is the hyperparameter that `batch_size` was taken from, to be named in the advice.
    """
    if isinstance(error, JobError):
        return error
    text = str(error)
    if is_gpu_out_of_memory(error):
        return SettingsError(
            f"the GPU ran out of memory with {setting}={batch_size}: the model, or a single row, does not fit; use a "
            f"smaller model, a smaller max_sequence_length, or an instance with more GPU memory\n{text}"
        )
    return scarce(error) or error


def scarce(error: BaseException) -> PlatformError | None:
    """The error for one that a library or the system raised because memory, disk, processes or files ran out."""
    text, number = str(error), getattr(error, "errno", None)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: " in text or "Cannot allocate memory" in text:
        return PlatformError(
            f"the host ran out of memory; use an instance with more than {gigabytes()} GB, or for training a smaller "
            "train_batch_size or max_data_rows"
        )
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        return PlatformError(f"the disk is full{_place(error)}; give the job a larger volume (--volume-size)\n{text}")
    if "No usable temporary directory found" in text:  # tempfile looks for one by writing to it
        return PlatformError(
            "no temporary folder can be written to: each is read-only or full; mount one, as `docker run --read-only "
            "--tmpfs /tmp` does, or set TMPDIR to another"
        )
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        return PlatformError(
            f"a process may have no more than {file_limit():,} open files, which is too few; raise the limit (docker "
            f"run --ulimit nofile=65536)\n{text}"
        )
    if "can't start new thread" in text or (number == errno.EAGAIN and isinstance(error, BlockingIOError)):
        most = process_limit()
        count = f"{most:,} are allowed in this container" if most else "the machine allows no more"
        return PlatformError(
            f"no further process or thread can be started: {count}; raise the limit (docker run --pids-limit)\n{text}"
        )
    return None


def out_of_host_memory() -> PlatformError:
    """The error for a process that the OOM killer ended."""
    return PlatformError(
        f"the host ran out of memory, so training was killed; use an instance with more than {gigabytes()} GB, or a "
        "smaller train_batch_size or max_data_rows"
    )


def out_of_memory_preparing() -> PlatformError:
    """The error for a host without enough memory to prepare the data."""
    return PlatformError(
        "the host ran out of memory while the data was read and tokenized; use an instance with more than "
        f"{gigabytes()} GB, or fewer or shorter rows"
    )


def gigabytes() -> str:
    """The memory that this container may use, as in "15.6"."""
    return f"{memory_limit() / 1e9:.1f}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first `most` names, and how many more there are, for a message."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelled name: the most similar valid one, else some of them."""
    names = list(valid)
    match = similar(name, names)
    return f"did you mean {match}?" if match else f"valid names are {listed(names, 20)}"


def similar(name: str, valid: Sequence[str]) -> str | None:
    """The valid name that is most similar to this one, if any is."""
    return next(iter(difflib.get_close_matches(name, valid, n=1, cutoff=0.6)), None)
