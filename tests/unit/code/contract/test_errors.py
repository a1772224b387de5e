from __future__ import annotations

import errno
import json
import re

import pytest

import check
from support.jobs import Job, easy_rows
from text_classifier.contract import metric_names as metrics
from text_classifier.contract.errors import (
    FAILURE_BYTES,
    DataError,
    PeerError,
    describe,
    explain,
    first_line,
    printable,
)
from text_classifier.contract.limits import file_limit
from text_classifier.contract.metric_names import REPORTED, metric_definitions


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
        (OutOfMemoryError("CUDA"), "Your settings: the GPU ran out of memory with eval_batch_size=64: the model, "
         "or a single row, does not fit; use a smaller model, a smaller max_sequence_length, or an instance with more"),
        (RuntimeError("CUDA error: out of memory"),
         "Your settings: the GPU ran out of memory with eval_batch_size=64: the model, "
         "or a single row, does not fit; use a smaller model, a smaller max_sequence_length, or an instance with more"),
        (MemoryError(), "The platform: the host ran out of memory; use an instance with more than "),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "The platform: the host ran out"),
        (OSError(errno.ENOSPC, "x"), "The platform: the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "The platform: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
         "The platform: no temporary folder can be written to: each is read-only or full"),
        (OSError(errno.EMFILE, "x"), f"The platform: a process may have no more than {file_limit():,} open files"),
        (RuntimeError("can't start new thread"), "The platform: no further process or thread can be started: "),
        (BlockingIOError(errno.EAGAIN, "x"), "The platform: no further process or thread can be started: "),
        (DataError("x"), "Your data: x"),
        (KeyError("x"), "A bug in the training code: KeyError"),
    ],
)  # fmt: skip
def test_errors_of_libraries_get_a_cause(error: Exception, sentence: str) -> None:
    if "GPU" not in sentence:
        assert first_line(error).startswith(sentence)  # where no batch size plays a part
    assert first_line(explain(error, "eval_batch_size", 64)).startswith(sentence)


def test_memory_that_ran_out_while_a_step_was_recorded_is_the_cause() -> None:
    error = RuntimeError("operation failed due to a previous error during capture")
    error.__context__ = OutOfMemoryError("CUDA")
    assert "the GPU ran out of memory with train_batch_size=32" in str(explain(error, "train_batch_size", 32))


#: What a label, a file or a slice may be called, to look like a line of the log.
ATTACKS = [
    "validation_loss=0.1;", "x accuracy=1.0; y", "f1_macro=nan;", "a\naccuracy=1;",
    "a\r\nepoch=1; step=2; accuracy=0.9;",
    "\x1b[31mred\x1b[0m accuracy=1e-3;", "accuracy=-1;",
    "auprc=.5; accuracy=5.;", "\u2028accuracy=1;", "a\x00accuracy=1;",
    "roc_auc_macro=inf;", "\x9b2J", "mae=+1;", "accuracy=1;" * 50,
]  # fmt: skip


def metrics_in(log: str) -> list[str]:
    return [definition["Name"] for definition in metric_definitions() if re.search(definition["Regex"], log)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_name_is_one_line_without_metrics(attack: str) -> None:
    shown = printable(attack)
    assert shown.isprintable() and not metrics_in(shown)
    assert describe(DataError(f"the label {attack}")).isprintable() or "\n" in attack
    assert not metrics_in(describe(ValueError(attack)))


def test_other_names_are_left_alone() -> None:
    for name in ("a=b;c", "accuracy=high;", "my_accuracy = 1;", "\u4e2d\u6587 \U0001f600", "loss=1;"):
        assert printable(name) == name
    assert all(metrics_in(f"{name}=0.5;") == [name] for name in REPORTED)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if "\x00" not in attack])
def test_labels_slices_and_files_forge_nothing(
    job: Job, attack: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = '"' + attack.replace('"', '""')[:190] + '"'
    rows = "".join(f"{text} {n},{quoted if n % 2 else 'other'},{quoted}\n" for n, (text, _) in enumerate(easy_rows(24)))
    name = attack.replace("/", "")[:100].replace("\x00", "") + ".csv"
    path = job.write("train", name, "text,label,kind\n" + rows)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(job.base))
    assert check.main(["--slice_column=kind"]) == 0
    path.write_text(path.read_text() + f"x,{quoted}\n")
    assert check.main(["--slice_column=kind"]) == 1
    written = capsys.readouterr()
    assert not metrics_in(written.out + written.err)
    assert all(line.isprintable() for line in (written.out + written.err).split("\n"))
