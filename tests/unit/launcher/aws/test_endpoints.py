"""deploy, endpoints and undeploy: what they create, what they leave, and what they say."""

import json
import random
import signal

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

import launch
from launcher.aws import client, endpoints
from launcher.plan import endpoint
from support import launching
from support.launching import BUCKET, IMAGE, JOB, REGION, ROLE, assert_one_sentence

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")

MODEL = f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz"
OF_S3 = (f"--image={IMAGE}", f"--role={ROLE}")


@pytest.fixture
def trained(train):
    assert train()[0] == 0


def names(stub):
    """The names of what exists, by kind."""
    return {kind: list(found) for kind, found in stub.hosting.items()}


NOTHING = {"Model": [], "EndpointConfig": [], "Endpoint": []}
ALL = {"Model": [JOB], "EndpointConfig": [JOB], "Endpoint": [JOB]}


def test_a_job_is_deployed_with_its_image_and_role_and_undeployed_without_a_rest(command, aws_stub, trained):
    code, out, err = command("deploy", JOB, "--environment=SERVE_TOP_K=all", "--tag=team=reviews")
    assert (code, err) == (0, "")
    assert names(aws_stub) == ALL
    container = {"Image": IMAGE, "ModelDataUrl": MODEL, "Environment": {"SERVE_TOP_K": "all"}}
    model = aws_stub.hosting["Model"][JOB]
    assert (model["PrimaryContainer"], model["ExecutionRoleArn"]) == (container, ROLE)
    [variant] = aws_stub.hosting["EndpointConfig"][JOB]["ProductionVariants"]
    assert (variant["ModelName"], variant["InstanceType"], variant["InitialInstanceCount"]) == (JOB, "ml.c5.xlarge", 1)
    assert all({"Key": "team", "Value": "reviews"} in tags and endpoint.TAG in tags for tags in aws_stub.tags.values())
    assert "--- Creating\n--- InService\n" in out
    assert "cost_per_hour  0.204" in out
    assert f"`launch.py undeploy {JOB} --region {REGION}` deletes it" in out.splitlines()[-1]

    code, out, err = command("undeploy", JOB)
    assert (code, err) == (0, "")
    assert names(aws_stub) == NOTHING
    lines = [f"Deleted {noun} {JOB}" for noun in ("endpoint", "endpoint configuration", "model")]
    assert out.splitlines() == [f"Deleting endpoint {JOB} in {REGION}", *lines]
    assert_one_sentence(command("undeploy", JOB), launch.REFUSED, f"there is no endpoint {JOB} in {REGION}")


def test_a_model_in_s3_is_deployed_under_a_name_of_yours(command, aws_stub):
    code, _, err = command(
        "deploy", "s3://mine/model.tar.gz", *OF_S3, "--name=a", "--count=2", "--instance-type=ml.m5.large"
    )
    assert (code, err) == (0, "")
    assert aws_stub.hosting["Model"]["a"]["PrimaryContainer"]["ModelDataUrl"] == "s3://mine/model.tar.gz"
    assert command("deploy", MODEL, *OF_S3)[0] == 0
    assert list(aws_stub.hosting["Endpoint"]) == ["a", JOB]


def test_a_serverless_endpoint_has_memory_and_concurrency(command, aws_stub, trained):
    code, out, _ = command("deploy", JOB, "--serverless", "--memory=2048", "--concurrency=7", "--json")
    assert code == 0
    [variant] = aws_stub.hosting["EndpointConfig"][JOB]["ProductionVariants"]
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 7}
    assert variant == {"VariantName": "all", "ModelName": JOB, "ServerlessConfig": serverless}
    summary = json.loads(out)
    assert (summary["status"], summary["runs_on"]) == ("InService", "serverless, 2048 MB, at most 7 at a time")
    assert "cost_per_hour" not in summary


@pytest.mark.parametrize("seed", range(10))
def test_faults_create_exactly_one_of_each_and_leave_none(command, aws_stub, trained, seed):
    order = random.Random(seed)
    kinds = ("throttle", "500", "503", "reset", "lost")
    for kind in ("Model", "EndpointConfig", "Endpoint"):
        aws_stub.faults[f"Create{kind}"] = [kinds[seed % 5], *order.choices(kinds, k=order.randrange(4))]
        aws_stub.faults[f"Delete{kind}"] = [kinds[seed % 5], *order.choices(kinds, k=order.randrange(4))]
        aws_stub.faults[f"Describe{kind}"] = order.choices(kinds[:4], k=order.randrange(3))
    assert command("deploy", JOB)[0] == 0
    assert names(aws_stub) == ALL
    assert command("undeploy", JOB)[0] == 0
    assert names(aws_stub) == NOTHING


def test_the_same_command_again_finds_the_endpoint_and_another_one_is_refused(command, aws_stub, trained):
    assert command("deploy", JOB)[0] == 0
    code, out, _ = command("deploy", JOB)
    assert code == 0
    assert f"Endpoint {JOB} already exists" in out
    other = command("deploy", JOB, "--count=2")
    assert_one_sentence(
        other, launch.REFUSED, "already exists with a different ProductionVariants; give another --name"
    )
    other = command("deploy", JOB, "--environment=SERVE_TOP_K=all")
    assert_one_sentence(other, launch.REFUSED, "already exists with a different PrimaryContainer.Environment")
    assert names(aws_stub) == ALL


def test_what_failed_is_explained_by_the_end_of_its_log(command, aws_stub, trained):
    aws_stub.endpoint_statuses = ["Creating", "Creating", "Failed"]
    aws_stub.streams["all/i-0abc"] = [f"line {number}" for number in range(30)]
    code, out, err = command("deploy", JOB)
    assert code == launch.FAILED
    assert [line for line in out.splitlines() if line.startswith("line")] == [f"line {n}" for n in range(10, 30)]
    assert err == (
        f"launch.py: endpoint {JOB} is Failed. {aws_stub.failure_reason.rstrip('.')}; `launch.py undeploy {JOB} "
        f"--region {REGION}` deletes it\n"
    )
    [listed] = json.loads(command("endpoints", "--json")[1])
    assert (listed["status"], listed["reason"]) == ("Failed", aws_stub.failure_reason)
    assert command("undeploy", JOB)[0] == 0
    assert names(aws_stub) == NOTHING


@pytest.mark.parametrize(
    ("code", "says"), [("ResourceNotFoundException", "is empty"), ("AccessDeniedException", "cannot be read")]
)
def test_a_log_that_is_empty_or_denied_does_not_hide_the_reason(command, aws_stub, trained, monkeypatch, code, says):
    aws_stub.endpoint_statuses = ["Failed"]
    launching.refuse(monkeypatch, "DescribeLogStreams", code, "no")
    result = command("deploy", JOB)
    assert result[0] == launch.FAILED
    assert says in result[1] and "did not pass the ping health check" in result[2]


@pytest.mark.parametrize("operation", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"])
def test_a_refusal_leaves_nothing(command, aws_stub, trained, monkeypatch, operation):
    launching.refuse(monkeypatch, operation, "ResourceLimitExceeded", "The account-level service limit is 0 Instances.")
    assert_one_sentence(command("deploy", JOB), launch.REFUSED, "service limit is 0", "quota increase")
    assert names(aws_stub) == NOTHING


def test_a_refusal_removes_only_what_this_call_created(command, aws_stub, trained):
    assert command("deploy", JOB)[0] == 0
    del aws_stub.hosting["Endpoint"][JOB]
    assert command("deploy", JOB, "--count=3")[0] == launch.REFUSED
    assert names(aws_stub) == ALL | {"Endpoint": []}
    assert command("undeploy", JOB)[0] == 0  # of the rest, too
    assert names(aws_stub) == NOTHING


def test_undeploy_waits_for_an_endpoint_that_is_being_created(command, aws_stub, trained):
    assert command("deploy", JOB)[0] == 0
    aws_stub.hosting["Endpoint"][JOB]["statuses"] = ["Creating", "Creating", "Creating", "InService"]
    assert command("undeploy", JOB)[0] == 0
    assert names(aws_stub) == NOTHING


def test_undeploy_deletes_nothing_of_others(command, aws_stub, trained):
    assert command("deploy", JOB)[0] == 0
    aws_stub.tags[aws_stub.hosting["Model"][JOB]["ModelArn"]] = []
    code, _, err = command("undeploy", JOB)
    assert (code, err.count("\n")) == (launch.REFUSED, 1)
    assert f"model {JOB} lacks the tag" in err
    assert names(aws_stub) == ALL


def test_endpoints_lists_ours_with_their_cost(command, aws_stub, trained):
    assert command("endpoints") == (0, "", f"There is no endpoint of `launch.py deploy` in {REGION}\n")
    assert command("deploy", JOB, "--count=2", "--instance-type=ml.m5.xlarge")[0] == 0
    assert command("deploy", JOB, "--name=other", "--serverless")[0] == 0
    assert command("deploy", JOB, "--name=foreign")[0] == 0
    aws_stub.tags[aws_stub.hosting["Endpoint"]["foreign"]["EndpointArn"]] = []
    other, first, note = command("endpoints")[1].splitlines()
    assert other.endswith(
        "  other  serverless, 3072 MB, at most 5 at a time  per request (memory x duration); nothing while idle"
    )
    assert first.startswith("InService ") and first.endswith(f"  {JOB}  2 x ml.m5.xlarge  USD 0.46 per hour")
    assert "aws/prices.csv" in note
    variants = [{"VariantName": "all", "DesiredInstanceCount": 5}]
    aws_stub.hosting["Endpoint"][JOB]["ProductionVariants"] = variants  # scaled since
    assert json.loads(command("endpoints", "--json")[1])[1]["cost_per_hour"] == 1.15


def test_a_plan_prints_the_requests_and_the_price_and_creates_nothing(command, aws_stub, trained):
    code, out, _ = command("deploy", JOB, "--plan", "--count=2")
    assert code == 0
    assert "bill      USD 0.408 per hour, 298 per month, with or without requests; price from aws/prices.csv" in out
    requests = json.loads(command("deploy", JOB, "--plan", "--count=2", "--json")[1])["requests"]
    assert names(aws_stub) == NOTHING
    assert command("deploy", JOB, "--count=2")[0] == 0
    model = aws_stub.hosting["Model"][JOB]
    assert {key: model[key] for key in requests["CreateModel"] if key != "Tags"} == {
        key: value for key, value in requests["CreateModel"].items() if key != "Tags"
    }


def test_an_interrupt_says_that_it_is_billed(command, aws_stub, trained, clock):
    aws_stub.endpoint_statuses = ["Creating"]
    clock.plan = [(clock.now + 10, lambda: signal.raise_signal(signal.SIGINT))]
    code, _, err = command("deploy", JOB)
    assert code == 130
    assert "is created and billed if it was started; the same command resumes" in err
    assert f"`launch.py undeploy {JOB} --region {REGION}` deletes it" in err


def test_an_interrupted_undeploy_names_the_region(command, aws_stub, trained, clock):
    assert command("deploy", JOB)[0] == 0
    aws_stub.hosting["Endpoint"][JOB]["statuses"] = ["Creating"]
    clock.plan = [(clock.now + 10, lambda: signal.raise_signal(signal.SIGINT))]
    code, _, err = command("undeploy", JOB)
    rest = f"`launch.py undeploy {JOB} --region {REGION}` deletes the rest"
    assert (code, err) == (130, f"launch.py: interrupted; {rest}\n")


def test_an_endpoint_that_cannot_be_described_is_billed(command, aws_stub, trained, monkeypatch):
    def denied(*arguments):
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeEndpointConfig")

    monkeypatch.setattr(endpoints, "summary", denied)
    says = f"endpoint {JOB} is in service, but cannot be described: AWS refused DescribeEndpointConfig"
    assert_one_sentence(command("deploy", JOB), launch.FAILED, says, f"undeploy {JOB} --region {REGION}` deletes it")


def test_credentials_that_expire_meanwhile_are_lost_contact(command, aws_stub, trained, monkeypatch):
    create = client.create

    def expiring(service, region):
        if aws_stub.hosting["Endpoint"]:
            raise NoCredentialsError()
        return create(service, region)

    monkeypatch.setattr(client, "create", expiring)
    assert_one_sentence(
        command("deploy", JOB), launch.LOST_CONTACT, "which is billed if it was created: no AWS credentials were found"
    )


def test_lost_contact_says_that_it_may_be_billed(command, aws_stub, trained):
    aws_stub.faults["CreateEndpoint"] = ["lost"] + ["reset"] * 20
    assert_one_sentence(command("deploy", JOB), launch.LOST_CONTACT, "billed if it was created", "undeploy")


def test_a_terminal_is_asked_first(command, aws_stub, trained, monkeypatch):
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    code, out, _ = command("deploy", JOB)
    assert code == launch.REFUSED
    assert "bill      USD 0.204 per hour, 149 per month" in out
    assert names(aws_stub) == NOTHING
    assert command("deploy", JOB, "--yes")[0] == 0


def test_the_network_of_the_job_is_kept(command, aws_stub, trained):
    vpc = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    aws_stub.jobs[JOB] |= {"VpcConfig": vpc, "EnableNetworkIsolation": True}
    assert_one_sentence(command("deploy", JOB, "--serverless"), launch.WRONG_USE, "do not support")
    assert command("deploy", JOB)[0] == 0
    model = aws_stub.hosting["Model"][JOB]
    assert (model["VpcConfig"], model["EnableNetworkIsolation"]) == (vpc, True)


def test_a_job_without_a_model_is_refused(command, aws_stub, job):
    job["RoleArn"], job["AlgorithmSpecification"] = ROLE, {"TrainingImage": IMAGE}
    hint = f"its status is InProgress; see `launch.py status {JOB} --region {REGION}`"
    assert_one_sentence(command("deploy", JOB), launch.REFUSED, f"job {JOB} has no model: {hint}")


MISTAKES = [
    ([JOB, "--memory=2048"], "--memory applies to serverless endpoints only"),
    ([JOB, "--concurrency=2"], "--concurrency applies to serverless endpoints only"),
    ([JOB, "--serverless", "--memory=2000"], "--memory 2000 is not possible; give 1024, 2048"),
    ([JOB, "--serverless", "--concurrency=201"], "the maximum is 200"),
    ([JOB, "--serverless", "--count=2"], "--count cannot be combined with --serverless"),
    ([JOB, "--instance-type=g5"], "is not a SageMaker instance type"),
    ([JOB, "--name=a_b"], "name 'a_b' is not allowed"),
    ([JOB, "--environment=A=1", "--environment=A=2"], "--environment A is given twice"),
    (["s3://mine/model.tar.gz"], "a model in S3 needs --image and --role"),
    (["s3://mine/model.tar.gz", *OF_S3], "the endpoint needs a name; give --name"),
    (["s3://mine/model/", *OF_S3], "is not a model.tar.gz"),
    (["https://mine/model.tar.gz", *OF_S3], "cannot be read"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[" ".join(words[:2]) for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence(command, aws_stub, trained, words, sentence):
    assert_one_sentence(command("deploy", *words), launch.WRONG_USE, sentence)
    assert names(aws_stub) == NOTHING


def test_the_price_of_training_in_train_yaml_is_not_that_of_an_endpoint(command, trained, tmp_path):
    (tmp_path / "train.yaml").write_text("price: 9\ninstance_type: ml.g5.xlarge\n")
    assert "USD 0.204 per hour" in command("deploy", JOB, "--plan")[1]
