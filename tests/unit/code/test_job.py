"""The end of a job: what is predicted about the model must not cost the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from text_classifier.job import Job
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.cluster import Cluster


class Ending(Job):
    """A trained job whose report is a list of stages; an exception among them is raised."""

    def __init__(self, base: Path, *stages: str | Exception) -> None:
        self.contract = JobFolders(base)
        self.cluster = Cluster(Hosts.from_resources({}), 60)
        self.stop = StopSignal()
        self.stages = stages

    def evaluate(self, trained: Any) -> Any:
        return SimpleNamespace(temperature=1.0)

    def save(self, trained: Any, temperature: float | None) -> dict[str, Any]:
        return {}

    def report(self, trained: Any, evaluated: Any, manifest: dict[str, Any]) -> Iterator[str]:
        for stage in self.stages:
            if isinstance(stage, Exception):
                raise stage
            if stage == "stop":
                self.stop.requested = True
            yield stage


def end(job: Job) -> None:
    job.finish(SimpleNamespace(steps=1))  # type: ignore[arg-type]


def test_all_stages_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(Ending(tmp_path, "epochs", "report"))
    assert capsys.readouterr().out.endswith(" s (epochs, report)\n")


def test_a_stop_leaves_out_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(Ending(tmp_path, "epochs", "stop", "report"))
    assert capsys.readouterr().out.endswith(" s (epochs, stop)\n")


def test_an_error_in_the_report_is_shown_and_does_not_fail_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end(Ending(tmp_path, "epochs", RuntimeError("no font"), "report"))
    shown = capsys.readouterr()
    assert "RuntimeError: no font" in shown.err
    assert "WARNING: a part of the report is missing" in shown.out and shown.out.endswith(" s (epochs)\n")


def test_a_job_without_its_metrics_has_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        end(Ending(tmp_path, OSError(28, "No space left on device")))
