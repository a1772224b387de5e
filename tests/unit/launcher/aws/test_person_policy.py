"""PersonPolicy in aws/template.yaml allows every call that launch.py and build_and_push.sh make, and no others."""

import ast
import fnmatch
import io
import tarfile
from pathlib import Path

import boto3
import botocore.client
import botocore.session
import pytest

import launch
from launcher.aws import commands, doctor, ecr, follow, manifest, stack
from support import sagemaker_stub

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")
REGION, ACCOUNT = "eu-west-1", "123456789012"
REPOSITORY = "sagemaker-text-classification"
DIGEST = "sha256:" + "0" * 64
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}@{DIGEST}"

LAUNCHER = Path(launch.__file__).parent / "launcher"
SERVICES = (
    "sagemaker", "sagemaker-runtime", "s3", "ecr", "iam", "sts", "logs", "ec2", "service-quotas", "cloudwatch",
    "application-autoscaling",
)  # fmt: skip

#: The actions that `docker push` and `docker manifest inspect` need, through the registry's protocol.
#: Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
BY_DOCKER = (
    "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "GetDownloadUrlForLayer",
    "InitiateLayerUpload", "PutImage", "UploadLayerPart",
)  # fmt: skip

#: Operations whose IAM action has another name.
ACTIONS = {
    "HeadBucket": "ListBucket", "ListObjectsV2": "ListBucket", "HeadObject": "GetObject",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
}  # fmt: skip
PREFIXES = {"service-quotas": "servicequotas", "sagemaker-runtime": "sagemaker"}
#: The arguments that name what `deploy` creates, and the resource types of their ARNs.
HOSTING = {"EndpointName": "endpoint", "EndpointConfigName": "endpoint-config", "ModelName": "model"}
#: Needs no permission.
FREE = ("sts:GetCallerIdentity", "*")


def needed(service, operation, arguments):
    """The pairs of action and resource that IAM must allow for a call."""
    service = PREFIXES.get(service, service)
    action = f"{service}:{ACTIONS.get(operation, operation)}"
    arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:"
    if service == "s3":
        path = f"{arguments['Bucket']}/{arguments['Key']}" if "Key" in arguments else arguments["Bucket"]
        yield action, f"arn:aws:s3:::{path}"
    elif service == "ecr":
        name = arguments.get("repositoryName") or "".join(arguments.get("repositoryNames", []))
        yield action, f"{arn}repository/{name}" if name else "*"
    elif service == "logs":
        yield action, f"{arn}log-group:{arguments['logGroupName']}:log-stream:x"
    elif service == "iam":
        name = arguments.get("RoleName") or arguments["PolicySourceArn"].rpartition("/")[2]
        yield action, f"arn:aws:iam::{ACCOUNT}:role/{name}"
    elif service == "sagemaker" and ("TrainingJobName" in arguments or "HyperParameterTuningJobName" in arguments):
        is_training = "TrainingJobName" in arguments
        resource = f"{arn}training-job/x" if is_training else f"{arn}hyper-parameter-tuning-job/x"
        yield action, resource
        if operation.startswith("Create"):
            yield "iam:PassRole", arguments.get("TrainingJobDefinition", arguments)["RoleArn"]
            yield "sagemaker:AddTags", resource
    elif service == "application-autoscaling":
        yield action, f"{arn}scalable-target/x"
    elif service == "sagemaker" and "TransformJobName" in arguments:
        yield action, f"{arn}transform-job/x"
        if operation.startswith("Create"):
            yield "sagemaker:AddTags", f"{arn}transform-job/x"
    elif service == "sagemaker" and (names := [key for key in HOSTING if key in arguments]):
        # CreateEndpoint needs the configuration too; other calls that name two resources need the first only.
        for name in names if operation == "CreateEndpoint" else names[:1]:
            yield action, f"{arn}{HOSTING[name]}/x"
        if operation.startswith("Create"):
            yield "sagemaker:AddTags", f"{arn}{HOSTING[names[0]]}/x"
        if operation == "CreateModel":
            yield "iam:PassRole", arguments["ExecutionRoleArn"]
    elif operation == "ListTags":
        yield action, arguments["ResourceArn"]
    else:
        yield action, "*"


def allows(policy, action, resource):
    def matches(patterns, value):
        return any(fnmatch.fnmatchcase(value, p) for p in ([patterns] if isinstance(patterns, str) else patterns))

    return any(
        matches(statement["Action"], action) and matches(statement["Resource"], resource)
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
    )


@pytest.fixture
def stub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with sagemaker_stub.account(
        monkeypatch, REGION, "SAGEMAKER", "SAGEMAKER_RUNTIME", "APPLICATION_AUTO_SCALING", "CLOUDWATCH_LOGS",
        "SERVICE_QUOTAS", "ECR",
    ) as running:  # fmt: skip
        monkeypatch.setattr(doctor, "_local_mode", lambda: iter(()))
        monkeypatch.setattr(follow, "time", type("NoTime", (), {"sleep": lambda s: None, "monotonic": lambda: 0}))
        running.images[DIGEST] = {"mediaType": manifest.DOCKER_V2, "architecture": "amd64"}
        running.quotas["ml.g5.xlarge for training job usage"] = 2
        yield running


@pytest.fixture
def calls(monkeypatch):
    """All calls made, as service, operation and arguments."""
    made = []
    call = botocore.client.BaseClient._make_api_call

    def recorded(self, operation, arguments):
        made.append((self.meta.service_model.service_name, operation, arguments))
        if operation == "SimulatePrincipalPolicy":  # moto lacks it
            return {"EvaluationResults": [{"EvalDecision": "allowed"}]}
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    return made


def model_archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("config.json"), io.BytesIO())
    return content.getvalue()


def live(stub, monkeypatch, tmp_path, outputs):
    """Run every command that uses AWS, with the resources of a stack."""
    (tmp_path / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")
    (tmp_path / "train.yaml").write_text("ranges: {epochs: [1, 2]}\n")
    of_job = [f"--image={IMAGE}", f"--role={outputs['Role']}", f"--bucket={outputs['Bucket']}", "--tag=a=b"]
    of_job.append("--data=reviews.tsv")
    artifact = {"S3ModelArtifacts": f"s3://{outputs['Bucket']}/m/model.tar.gz"}

    def end(job):
        status = "TrainingJobStatus" if "TrainingJobName" in job else "HyperParameterTuningJobStatus"
        job |= {status: "Completed", "ModelArtifacts": artifact}

    stub.describe_hook = end
    for name in ("job-1", "scores-1", "all"):
        stub.log(name, "a line")
    stub.trial("search-1", "Completed", 0.9, 60, epochs="1")
    assert launch.main(["plan", *of_job]) == 0
    ec2 = boto3.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])["SecurityGroups"][0]
    place = [f"--subnet={subnet['SubnetId']}", f"--security-group={group['GroupId']}"]
    assert launch.main(["plan", *of_job, *place]) == 0
    boto3.client("s3").put_object(Bucket=outputs["Bucket"], Key="mine/reviews.tsv", Body=b"label\ttext\n")
    assert launch.main(["plan", *of_job[:-1], f"--data=s3://{outputs['Bucket']}/mine/"]) == 0
    assert launch.main(["train", "--skip-data-check", *of_job, "--job-name=job-1"]) == 0
    # exit code 1: it has no best trial
    assert launch.main(["tune", "--skip-data-check", *of_job, "--job-name=search-1", "--max-jobs=1"]) == 1
    for name in ("job-1", "search-1"):
        assert launch.main(["status", name]) == 0
        assert launch.main(["stop", name]) == 3  # refused: it has ended
    assert launch.main(["logs", "job-1"]) == 0
    assert launch.main(["list"]) == 0
    boto3.client("s3").put_object(Bucket=outputs["Bucket"], Key="m/model.tar.gz", Body=model_archive())
    assert launch.main(["download", "job-1"]) == 0

    stub.endpoint_statuses = ["Creating", "Failed"]
    assert launch.main(["deploy", "job-1"]) == 1
    assert launch.main(["undeploy", "job-1"]) == 0
    stub.endpoint_statuses = ["InService"]
    assert launch.main(["deploy", "job-1", "--scale=1-2", f"--capture=s3://{outputs['Bucket']}/captured/"]) == 0
    assert launch.main(["endpoints"]) == 0
    stub.model = lambda body, type: (200, b'[{"label": "a", "score": 1.0}]')
    assert launch.main(["invoke", "job-1", "a text"]) == 0
    assert launch.main(["undeploy", "job-1"]) == 0

    boto3.client("s3").put_object(Bucket=outputs["Bucket"], Key="scores/reviews.tsv.out", Body=b"a,1\n")
    transform = [
        "transform",
        "job-1",
        "--data=reviews.tsv",
        "--format=csv",
        f"--output=s3://{outputs['Bucket']}/scores/",
    ]
    assert launch.main([*transform, "--name=scores-1", "--download=scores"]) == 0
    stub.transform_statuses = ["Failed"]
    assert launch.main([*transform, "--name=scores-2"]) == 1
    assert launch.main(["stop", "scores-1"]) == 3  # refused: it has ended
    for command in ("status", "logs", "attach"):
        assert launch.main([command, "scores-1"]) == 0

    monkeypatch.delenv("AWS_ENDPOINT_URL_ECR")  # moto's ECR from here on
    for repository in (REPOSITORY, "another"):
        assert ecr.main(["prepare", f"--region={REGION}", f"--repository={repository}"]) == 0
    ecr.main(["password", f"--region={REGION}", f"--host={IMAGE.partition('/')[0]}"])
    scan = ["scan", f"--region={REGION}", f"--repository={REPOSITORY}", f"--digest={DIGEST}"]
    assert ecr.main(scan) == 1  # moto has no such image


def test_every_call_is_allowed(stub, calls, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(commands, "DOWNLOADS", tmp_path / "jobs")
    endpoint = stub.url
    monkeypatch.delenv("AWS_ENDPOINT_URL_ECR")
    assert stack.main(["up", f"--region={REGION}"]) == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", endpoint)
    outputs = dict(line.split() for line in capsys.readouterr().out.splitlines())
    iam = boto3.client("iam")
    version = iam.get_policy(PolicyArn=outputs["PersonPolicy"])["Policy"]["DefaultVersionId"]
    policy = iam.get_policy_version(PolicyArn=outputs["PersonPolicy"], VersionId=version)["PolicyVersion"]["Document"]

    calls.clear()
    live(stub, monkeypatch, tmp_path, outputs)
    made = {pair for call in calls for pair in needed(*call)} - {FREE}
    made |= {(f"ecr:{operation}", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{REPOSITORY}") for operation in BY_DOCKER}
    # The stack allows its own repository only; the action is what is tested here.
    made = {(action, resource.replace("repository/another", f"repository/{REPOSITORY}")) for action, resource in made}
    assert len(made) > 30, made
    assert {pair for pair in made if not allows(policy, *pair)} == set()

    # Needed by AWS itself for multipart uploads, encryption with a customer's key, and the alarms of autoscaling.
    assert unused(policy, made) == {
        "cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm",
        "iam:CreateServiceLinkedRole", "sagemaker:UpdateEndpointWeightsAndCapacities",
        "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey",
        "s3:AbortMultipartUpload",
    }  # fmt: skip
    # Without --bucket it makes the account's default one, which the stack's policy does not allow.
    assert written_calls() - {operation for _, operation, _ in calls} == {"CreateBucket"}


def unused(policy, made):
    """The actions that some statement allows for nothing that is called.

    Of a statement's resources one is enough for an action of SageMaker, which knows one type of them.
    """
    found = set()
    for statement in policy["Statement"]:
        for action in actions(statement):
            resources = listed(statement["Resource"])
            used = [any(action == each and fnmatch.fnmatchcase(of, one) for each, of in made) for one in resources]
            if not any(used) or (not all(used) and not action.startswith("sagemaker:")):
                found.add(action)
    return found


def written_calls():
    """The operations of AWS that the launcher names, without those of who makes the stack."""
    names = set()
    for path in (LAUNCHER / "aws").glob("*.py"):
        tree = ast.parse(path.read_text())
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and path.name != "stack.py"}
    session = botocore.session.get_session()
    operations = {name for service in SERVICES for name in session.get_service_model(service).operation_names}
    return {name for name in operations if botocore.xform_name(name) in names}


def listed(value):
    return [value] if isinstance(value, str) else value


def actions(statement):
    return listed(statement["Action"])
