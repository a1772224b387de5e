from __future__ import annotations

import errno
import json

import pytest

from text_classifier.contract import metric_names as metrics
from text_classifier.contract.errors import FAILURE_BYTES, DataError, PeerError, describe, explain, first_line


def test_a_failure_fits_sagemakers_limit_also_in_other_scripts() -> None:
    text = describe(DataError("\N{SNOWMAN}" * 2000))
    assert len(text.encode()) <= FAILURE_BYTES
    assert text.endswith("\N{SNOWMAN}")


def test_a_bug_names_its_type_and_place() -> None:
    with pytest.raises(KeyError) as caught:
        raise KeyError("x")
    assert describe(caught.value).startswith("A bug in the training code: KeyError at test_errors.py:")


def test_a_bug_that_comes_up_in_a_library_names_our_own_line() -> None:
    with pytest.raises(ValueError) as caught:
        metrics.line(1, 1, {"accuracy": "no number"})  # type: ignore[dict-item]
    assert "ValueError at metric_names.py:" in describe(caught.value)
    with pytest.raises(ValueError) as caught:
        json.loads("{")
    assert " at decoder.py:" in describe(caught.value)


def test_no_secret_gets_into_the_file() -> None:
    assert "hf_***" in describe(DataError("hf_" + "a" * 34))


def test_the_reason_of_another_host_keeps_its_cause() -> None:
    assert first_line(PeerError("Your data: a.csv: is bad", "algo-2")) == (
        "Your data: a.csv: is bad [reported by algo-2]"
    )


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OutOfMemoryError("CUDA"), "Your settings: the GPU ran out of memory with eval_batch_size=64; use eval_batch"
         "_size=32, "
         "a smaller max_sequence_length or an instance with more GPU memory"),
        (RuntimeError("CUDA error: out of memory"),
         "Your settings: the GPU ran out of memory with eval_batch_size=64; use eval_batch"
         "_size=32, "
         "a smaller max_sequence_length or an instance with more GPU memory"),
        (MemoryError(), "The platform: the host ran out of memory, so training was killed; use an instance with more"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "The platform: the host ran out"),
        (OSError(errno.ENOSPC, "x"), "The platform: the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "The platform: the disk is full"),
        (DataError("x"), "Your data: x"),
        (KeyError("x"), "A bug in the training code: KeyError"),
    ],
)  # fmt: skip
def test_errors_of_libraries_get_a_cause(error: Exception, sentence: str) -> None:
    assert first_line(explain(error, "eval_batch_size", 64)).startswith(sentence)


def test_a_batch_of_one_cannot_be_halved() -> None:
    text = first_line(explain(OutOfMemoryError("CUDA"), "train_batch_size", 1))
    assert "train_batch_size=1; use a smaller max_sequence_length or" in text


def test_memory_that_ran_out_while_a_step_was_recorded_is_the_cause() -> None:
    error = RuntimeError("operation failed due to a previous error during capture")
    error.__context__ = OutOfMemoryError("CUDA")
    assert "the GPU ran out of memory with train_batch_size=32" in str(explain(error, "train_batch_size", 32))
