"""Nothing that a user's data holds looks like a line of ours in the log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import check
from support.jobs import Job, easy_rows
from text_classifier.contract.errors import DataError, describe, printable
from text_classifier.contract.metric_names import REPORTED, metric_definitions

Write = Callable[[str, str | bytes], Path]

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
