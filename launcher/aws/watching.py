"""The kinds of jobs as the commands see them: how each is followed, summed up, judged and left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.aws import follow, jobs, transforms, tuning
from launcher.plan import prices


class Watcher:
    """A kind of job. The defaults are those of a training job."""

    kind = jobs.TRAINING
    #: What a job does when it is asked to stop.
    when_stopped = "; the job saves its state first"

    def follow(self, sagemaker: Any, logs: Any, name: str) -> dict[str, Any]:
        """Print what the job does until it ends. Returns its description. Raises LostContact."""
        return follow.follow(sagemaker, logs, name, self.kind)

    def summary(self, sagemaker: Any, job: Mapping[str, Any], region: str, price: float | None) -> dict[str, Any]:
        """The state of the job as data, for a given price or that of the table. Raises boto3's exceptions."""
        return jobs.summary(job, prices.find(job["ResourceConfig"]["InstanceType"], region, price))

    def failure(self, summary: Mapping[str, Any]) -> str | None:
        """Why a job that has ended did not succeed; None if it did."""
        if summary["status"] == "Completed":
            return None
        return summary.get("reason") or f"The last stage was {summary.get('stage')}"

    def next_step(self, summary: Mapping[str, Any], region: str) -> str:
        """Where the results of a success are, as the end of a sentence."""
        return f"`launch.py download {summary['job']} --region {region}` downloads its model"

    def clean_up(self, sagemaker: Any, job: Mapping[str, Any]) -> None:
        """Delete what only the job needed."""


class TuningWatcher(Watcher):
    """A tuning job, whose trials are training jobs."""

    kind = jobs.TUNING

    def follow(self, sagemaker: Any, logs: Any, name: str) -> dict[str, Any]:
        return tuning.watch(sagemaker, name)

    def summary(self, sagemaker: Any, job: Mapping[str, Any], region: str, price: float | None) -> dict[str, Any]:
        trials = tuning.with_bills(sagemaker, tuning.summaries(sagemaker, job["HyperParameterTuningJobName"]))
        return tuning.summary(job, trials, prices.find(tuning.resources_of(job)["InstanceType"], region, price))

    def failure(self, summary: Mapping[str, Any]) -> str | None:
        if summary["status"] == "Completed" and "best" in summary:
            return None
        return summary.get("reason") or "No trial reported the objective metric"

    def next_step(self, summary: Mapping[str, Any], region: str) -> str:
        return f"`launch.py download {summary['best']} --region {region}` downloads the best model"


class TransformWatcher(Watcher):
    """A transform job, with a model of its own if `launch.py transform` started it."""

    kind = jobs.TRANSFORM
    when_stopped = ""

    def summary(self, sagemaker: Any, job: Mapping[str, Any], region: str, price: float | None) -> dict[str, Any]:
        return transforms.summary(job, prices.find(job["TransformResources"]["InstanceType"], region, price))

    def failure(self, summary: Mapping[str, Any]) -> str | None:
        if summary["status"] == "Completed":
            return None
        return f"{summary.get('reason', 'AWS gives no reason').rstrip('.')}; to try again, give another --name"

    def next_step(self, summary: Mapping[str, Any], region: str) -> str:
        return f"its scores are in {summary['scores']}"

    def clean_up(self, sagemaker: Any, job: Mapping[str, Any]) -> None:
        transforms.delete_model_of(sagemaker, job)


WATCHERS = {watcher.kind: watcher for watcher in (Watcher(), TuningWatcher(), TransformWatcher())}
