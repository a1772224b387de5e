"""What a job writes keeps to the schema of the public files. (The keys are frozen in tests/unit/tools.)"""

from __future__ import annotations

import signal

from support.jobs import Job
from support.schema_check import problems_of_job
from text_classifier.contract import schema
from text_classifier.contract.metric_names import REPORTED


def test_every_metric_of_the_log_is_described() -> None:
    assert schema.Scores.__optional_keys__ >= set(REPORTED)


def test_a_stopped_job_keeps_to_the_schema(ready_job: Job) -> None:
    process = ready_job.start("--epochs=100000", "--precision=fp32", "--log_seconds=0")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 1 "):
            process.send_signal(signal.SIGTERM)
            break
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert problems_of_job(ready_job.base) == []
    assert "validation" not in ready_job.metrics
