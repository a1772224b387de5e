"""The Estimator that `train` submits; tests/unit/launcher/plan/test_request.py compares what it sends."""

import os
import signal

import pytest

import launch
from launcher.aws import jobs
from launcher.sdk import estimators
from support.launching import JOB

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")


@pytest.fixture
def fitted(monkeypatch):
    """The requests that went through the Estimator."""
    requests = []
    fit = estimators.fit
    monkeypatch.setattr(
        estimators, "fit", lambda request, *rest, **more: (requests.append(request), fit(request, *rest, **more))
    )
    return requests


def test_train_goes_through_the_estimator_in_one_call(train, aws_stub, fitted):
    assert train("epochs=2")[0] == 0
    assert [request["TrainingJobName"] for request in fitted] == [JOB]
    assert aws_stub.calls.count("CreateTrainingJob") == 1
    assert aws_stub.jobs[JOB]["HyperParameters"] == {"epochs": "2"}


def test_without_version_2_of_the_sdk_boto3_sends_the_same_request(train, aws_stub, monkeypatch):
    def sent(name):
        assert train("epochs=2", "--spot", name=name)[0] == 0
        left = ("TrainingJobName", "TrainingJobArn", "CheckpointConfig")
        return {key: value for key, value in aws_stub.jobs[name].items() if key not in left}

    through_sdk = sent("one")
    monkeypatch.setattr(jobs, "sdk_estimators", lambda: None)
    monkeypatch.setattr(estimators, "fit", None)
    assert sent("two") == through_sdk


def test_a_tracking_server_does_not_make_the_submission_wait(train, aws_stub, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/x")
    waits = []
    monkeypatch.setattr("sagemaker.estimator._TrainingJob.wait", lambda self, logs: waits.append(self.name))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert train("--network-isolation", f"--model={tmp_path / 'model'}")[0] == 0
    assert waits == []
    assert "MLFLOW_TRACKING_URI" in os.environ


@pytest.mark.parametrize("stops", [False, True])
def test_an_interrupt_during_the_submission_is_not_swallowed(train, aws_stub, monkeypatch, stops):
    """The SDK's decorator of `fit` would return as if the job had been started."""
    aws_stub.describe_hook = lambda job: None
    train_method = estimators.Session.train

    def interrupted(self, **arguments):
        train_method(self, **arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(estimators.Session, "train", interrupted)
    code, _, err = train(*["--stop-on-interrupt"] * stops)
    assert code == launch.SIGNAL + signal.SIGINT
    assert f"job {JOB}" in err
    assert aws_stub.jobs[JOB]["TrainingJobStatus"] == ("Stopping" if stops else "InProgress")
