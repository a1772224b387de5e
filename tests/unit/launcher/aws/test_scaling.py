"""deploy --scale and undeploy: what scales an endpoint, and that nothing of it is left."""

import json

import pytest

import launch
from support import launching
from support.launching import JOB, assert_one_sentence

pytestmark = pytest.mark.usefixtures("completed", "clock")

RESOURCE = f"endpoint/{JOB}/variant/all"


def test_an_endpoint_is_scaled_when_it_is_in_service_and_undeploy_leaves_nothing(command, aws_stub):
    code, out, err = command("deploy", JOB, "--scale=2-5", "--scale-requests=90")
    assert (code, err) == (0, "")
    assert f"Endpoint {JOB} scales to at most 5 instances" in out
    target = aws_stub.scaling[RESOURCE]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 5)
    assert [policy["TargetValue"] for policy in target["policies"].values()] == [90.0]
    [variant] = aws_stub.hosting["EndpointConfig"][JOB]["ProductionVariants"]
    assert variant["InitialInstanceCount"] == 2
    assert command("deploy", JOB, "--scale=2-8")[0] == 0  # the same endpoint
    assert aws_stub.scaling[RESOURCE]["MaxCapacity"] == 8
    code, out, err = command("undeploy", JOB)
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == f"Deleted scaling of endpoint {JOB}"
    assert aws_stub.scaling == {} and not any(aws_stub.hosting.values())


def test_a_plan_has_the_range_of_the_price(command, aws_stub):
    plan = json.loads(command("deploy", JOB, "--plan", "--scale=1-4", "--json")[1])
    assert plan["bill"].startswith("USD 0.204 to 0.816 per hour, 149 to 596 per month")
    assert list(plan["requests"]) == [
        "CreateModel", "CreateEndpointConfig", "CreateEndpoint", "RegisterScalableTarget", "PutScalingPolicy",
    ]  # fmt: skip
    assert plan["requests"]["RegisterScalableTarget"]["MaxCapacity"] == 4
    assert "1 to 4 x ml.c5.xlarge" in command("deploy", JOB, "--plan", "--scale=1-4")[1]
    assert aws_stub.scaling == {} and not any(aws_stub.hosting.values())


@pytest.mark.parametrize("operation", ["RegisterScalableTarget", "PutScalingPolicy"])
def test_a_refused_scaling_keeps_the_endpoint_and_says_so(command, aws_stub, operation):
    aws_stub.faults[operation] = ["denied"]
    result = command("deploy", JOB, "--scale=1-2")
    assert_one_sentence(
        result, launch.FAILED, f"endpoint {JOB} is in service, but is not scaled", "ask for that permission",
        "the same command tries again",
    )  # fmt: skip
    assert command("deploy", JOB, "--scale=1-2")[0] == 0
    assert list(aws_stub.scaling) == [RESOURCE]


@pytest.mark.parametrize("fault", ["throttle", "lost"])
def test_faults_are_retried(command, aws_stub, fault):
    for operation in ("RegisterScalableTarget", "PutScalingPolicy", "DeregisterScalableTarget"):
        aws_stub.faults[operation] = [fault] * (1 if fault == "lost" else 3)
    assert command("deploy", JOB, "--scale=1-2")[0] == 0
    assert command("undeploy", JOB)[0] == 0
    assert aws_stub.scaling == {} and not any(aws_stub.hosting.values())


def test_a_scaling_that_is_not_removed_does_not_keep_the_endpoint(command, aws_stub, monkeypatch):
    assert command("deploy", JOB, "--scale=1-2")[0] == 0
    with monkeypatch.context() as patch:
        launching.refuse(patch, "DeregisterScalableTarget", "AccessDeniedException", "no")
        assert_one_sentence(command("undeploy", JOB), launch.REFUSED, f"the scaling of endpoint {JOB} is not removed")
    assert not any(aws_stub.hosting.values())
    assert command("undeploy", JOB)[0] == 0  # the rest
    assert aws_stub.scaling == {}
    assert_one_sentence(command("undeploy", JOB), launch.REFUSED, f"there is no endpoint {JOB}")


def test_requests_and_answers_are_captured(command, aws_stub):
    folder = "s3://mine/captured/"
    code, out, _ = command("deploy", JOB, f"--capture={folder}", "--capture-percent=10", "--plan")
    assert code == 0 and f"captures  10 % of requests and responses to {folder}" in out
    assert command("deploy", JOB, f"--capture={folder}")[0] == 0
    capture = aws_stub.hosting["EndpointConfig"][JOB]["DataCaptureConfig"]
    assert (capture["EnableCapture"], capture["InitialSamplingPercentage"]) == (True, 100)
    assert capture["DestinationS3Uri"] == folder
    assert [each["CaptureMode"] for each in capture["CaptureOptions"]] == ["Input", "Output"]
    other = command("deploy", JOB)
    assert_one_sentence(other, launch.REFUSED, "already exists with a different DataCaptureConfig")


MISTAKES = [
    (["--scale=4"], "'4' is not a range of instances; write it like 1-4"),
    (["--scale=1-4", "--count=2"], "--count cannot be combined with --scale"),
    (["--scale=1-4", "--serverless"], "--scale cannot be combined with --serverless"),
    (["--scale-requests=9"], "--scale-requests needs --scale"),
    (["--capture=folder"], "--capture folder is not in S3"),
    (["--capture=s3://mine/x", "--serverless"], "--capture cannot be combined with --serverless"),
    (["--capture-percent=9"], "--capture-percent needs --capture"),
    (["--capture=s3://mine/x", "--capture-percent=0"], "'0' is not a percentage"),
    (["--instance-type=ml.c5.xlage"], "--instance-type 'ml.c5.xlage' is unknown to AWS; did you mean ml.c5.xlarge?"),
    (["--tag=aws:a=b"], "begins with aws:, which AWS keeps for itself"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence(command, aws_stub, words, sentence):
    assert_one_sentence(command("deploy", JOB, *words), launch.WRONG_USE, sentence)
    assert not any(aws_stub.hosting.values())
