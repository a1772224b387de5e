"""`launch.py doctor`: moto for STS, IAM and S3, our stub for ECR and Service Quotas."""

import json
import re

import boto3
import botocore.client
import pytest

import launch
from launcher.aws import account, doctor, manifest
from support import sagemaker_stub

REGION, ACCOUNT = "eu-west-1", "123456789012"
DIGEST = "sha256:" + "0" * 64
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/name@{DIGEST}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/training"
BUCKET = "my-bucket"
QUOTA = "ml.g5.xlarge for training job usage"
SERVING, USES = ("ml.c5.xlarge", "ml.g5.xlarge"), ("endpoint", "transform job")


def trust(service):
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(autouse=True)
def stub(monkeypatch, tmp_path):
    """An account without problems."""
    monkeypatch.chdir(tmp_path)
    with sagemaker_stub.account(monkeypatch, REGION, "ECR", "SERVICE_QUOTAS") as running:
        running.images[DIGEST] = {"mediaType": manifest.DOCKER_V2, "architecture": "amd64"}
        running.quotas |= {QUOTA: 2, **{f"{name} for {use} usage": 1 for name in SERVING for use in USES}}
        boto3.client("iam").create_role(RoleName="training", AssumeRolePolicyDocument=trust("sagemaker.amazonaws.com"))
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        block = dict.fromkeys(account._PUBLIC_ACCESS, True)
        s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=block)
        monkeypatch.setattr(doctor.engine, "require_engine", lambda: None)
        monkeypatch.setattr(
            doctor.engine, "_docker", lambda *words: type("Done", (), {"returncode": 0, "stdout": "v2"})
        )
        yield running


@pytest.fixture
def examine(capsys):
    """Run doctor and return the exit code and the findings by check."""

    def run(*words, **options):
        given = {"image": IMAGE, "role": ROLE, "bucket": BUCKET} | options
        flags = [f"--{name}={value}" for name, value in given.items() if value]
        code = launch.main(["doctor", "--json", *flags, *words])
        findings = json.loads(capsys.readouterr().out)
        return code, {finding["check"]: (finding["level"], finding["text"]) for finding in findings}

    return run


def test_a_good_account_passes(examine, capsys):
    code, findings = examine()
    assert code == 0
    assert {level for check, (level, _) in findings.items() if check != "disk"} == {"ok"}
    assert list(findings) == [
        "settings", "credentials", "region", "role", "bucket", "image", "instance type", "quota", "serving", "docker",
        "disk",
    ]  # fmt: skip
    assert f"in account {ACCOUNT}" in findings["credentials"][1]
    launch.main(["doctor"])
    assert "ok       region         eu-west-1\n" in capsys.readouterr().out


def test_a_quota_for_serving_that_is_0_or_unknown_is_a_warning(stub, capsys):
    stub.quotas["ml.c5.xlarge for endpoint usage"] = 0
    del stub.quotas["ml.g5.xlarge for transform job usage"]
    assert launch.main(["doctor", f"--image={IMAGE}", f"--role={ROLE}", f"--bucket={BUCKET}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "  serving  " in line]
    assert [line.split()[0] for line in lines] == ["warning", "ok", "ok", "warning"]
    assert f"'ml.c5.xlarge for endpoint usage' is 0 in {REGION}; request an increase in Service Quotas" in lines[0]
    assert f"there is no quota 'ml.g5.xlarge for transform job usage' in {REGION}" in lines[3]


def test_nothing_given_is_a_warning(examine):
    code, findings = examine(image=None, role=None, bucket=None)
    assert code == 0
    assert findings["role"] == ("warning", "not given; give the job's execution role with --role")
    assert findings["bucket"] == ("ok", f"sagemaker-{REGION}-{ACCOUNT} will be created by `train`")


@pytest.mark.parametrize(
    ("options", "check", "text"),
    [
        ({"role": ROLE + "s"}, "role", "does not exist; create it (`make aws-up`), or correct --role"),
        ({"role": ROLE.replace("role/", "role/path/")}, "role", f"does not exist, but {ROLE} does; correct --role"),
        ({"role": ROLE.replace(ACCOUNT, "1" * 12)}, "role", f"is not in your account {ACCOUNT}"),
        ({"bucket": "no-such-bucket"}, "bucket", "the bucket no-such-bucket does not exist; create it"),
        ({"image": IMAGE.replace("0", "1")}, "image", "push it with `make push`"),
        ({"image": IMAGE.partition("@")[0]}, "image", "has no tag or digest"),
        ({"instance-type": "ml.p3.2xlarge"}, "instance type", "has V100 GPUs, which the image's CUDA 13 no longer"),
        ({"instance-count": "3"}, "quota", f"{QUOTA!r} is 2 in {REGION}, but 3 are needed; request an increase"),
        ({"max-wait": "9"}, "settings", "--max-wait applies to spot instances only"),
    ],
)
def test_what_will_not_do_fails_with_a_remedy(examine, options, check, text):
    code, findings = examine(**options)
    assert code == launch.REFUSED
    assert findings[check][0] == "failed"
    assert text in findings[check][1]


def test_a_role_for_another_service_fails(examine):
    boto3.client("iam").update_assume_role_policy(RoleName="training", PolicyDocument=trust("ec2.amazonaws.com"))
    assert examine()[1]["role"] == (
        "failed", f"{ROLE} does not trust sagemaker.amazonaws.com; add it to the trust policy"
    )  # fmt: skip


def test_a_bucket_elsewhere_or_open_is_reported(examine, monkeypatch):
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="far-away")
    assert "is in us-east-1, but the job runs in eu-west-1" in examine(bucket="far-away")[1]["bucket"][1]
    boto3.client("s3").delete_public_access_block(Bucket=BUCKET)
    assert examine()[1]["bucket"][0] == "warning"
    monkeypatch.setattr(account, "_is_public", lambda *arguments: True)
    assert examine()[1]["bucket"] == (
        "failed", f"the bucket {BUCKET} is public; turn on Block Public Access, or give another --bucket"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"architecture": "arm64"}, "is for linux/arm64; build it for linux/amd64"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "which SageMaker may reject"),
    ],
)
def test_an_image_that_sagemaker_cannot_run_fails(examine, stub, change, text):
    stub.images[DIGEST] |= change
    level, message = examine()[1]["image"]
    assert level == "failed"
    assert text in message


def test_an_image_in_another_region_is_named(examine):
    level, text = examine("--region=us-east-1")[1]["image"]
    assert level == "failed"
    assert text.startswith("--image is in eu-west-1, but the job runs in us-east-1")


@pytest.mark.parametrize(
    ("words", "quota"),
    [
        (["--spot"], "ml.g5.xlarge for spot training job usage"),
        (["--keep-alive=60"], "ml.g5.xlarge for training warm pool usage"),
    ],
)
def test_each_way_to_run_has_its_quota(examine, stub, words, quota):
    assert examine(*words)[1]["quota"] == (
        "warning", f"there is no quota {quota!r} in {REGION}; check Service Quotas"
    )  # fmt: skip
    stub.quotas[quota] = 0
    assert examine(*words)[0] == launch.REFUSED


def test_what_may_not_be_looked_at_is_a_warning(examine, stub):
    stub.faults["ListServiceQuotas"] = ["denied"] * 2  # for training and for serving, in either order
    code, findings = examine()
    assert code == 0
    assert findings["serving"][0] == findings["quota"][0] == "warning"
    assert findings["quota"][1].endswith("ask for that permission")


def test_without_credentials_nothing_more_is_asked(examine, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    code, findings = examine()
    assert code == launch.REFUSED
    assert findings["credentials"][0] == "failed"
    assert "role" not in findings


def test_a_machine_without_docker_is_a_warning(examine, monkeypatch):

    def refuse():
        raise doctor.UserError("the Docker engine does not respond; start it")

    monkeypatch.setattr(doctor.engine, "require_engine", refuse)
    code, findings = examine()
    assert code == 0
    assert findings["docker"] == (
        "warning",
        "local mode is not available: the Docker engine does not respond; start it",
    )


def test_train_is_refused_by_a_failed_check(stub, capsys, tmp_path):
    (tmp_path / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")
    stub.quotas[QUOTA] = 0
    code = launch.main([
        "train", f"--image={IMAGE}", f"--role={ROLE}", f"--bucket={BUCKET}", f"--data={tmp_path / 'reviews.tsv'}",
    ])  # fmt: skip
    assert code == launch.REFUSED
    assert capsys.readouterr().err.startswith(f"launch.py: quota: {QUOTA!r} is 0 in {REGION}, but 1 are needed")
    assert boto3.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_plan_has_the_findings_and_changes_nothing(stub, capsys, tmp_path, monkeypatch):
    operations = []
    call = botocore.client.BaseClient._make_api_call

    def recorded(self, operation, arguments):
        operations.append(operation)
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    (tmp_path / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--bucket={BUCKET}", f"--data={tmp_path / 'reviews.tsv'}"]
    assert launch.main(["plan", *words]) == 0
    assert f"ok       quota          {QUOTA!r} is 2\n" in capsys.readouterr().out
    assert launch.main(["plan", "--json", "--instance-count=3", *words]) == launch.REFUSED
    plan = json.loads(capsys.readouterr().out)
    assert plan["request"]["ResourceConfig"]["InstanceCount"] == 3
    assert [finding["check"] for finding in plan["checks"] if finding["level"] == "failed"] == ["quota"]
    assert len(operations) > 12
    assert {re.match("Get|List|Head|BatchGet|Describe", operation) is None for operation in operations} == {False}


def test_the_quota_of_a_search_is_for_all_trials_at_a_time(stub, capsys, tmp_path):
    (tmp_path / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")
    (tmp_path / "train.yaml").write_text("ranges: {epochs: [1, 2]}\n")
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--bucket={BUCKET}", f"--data={tmp_path / 'reviews.tsv'}"]
    assert launch.main(["plan", "--tune", "--max-parallel-jobs=2", *words]) == 0
    assert launch.main(["plan", "--tune", "--max-parallel-jobs=2", "--instance-count=2", *words]) == launch.REFUSED
    assert f"{QUOTA!r} is 2 in {REGION}, but 4 are needed" in capsys.readouterr().out


@pytest.fixture
def network():
    """A subnet and a security group of the default VPC."""
    ec2 = boto3.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]
    groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])
    return subnet["SubnetId"], groups["SecurityGroups"][0]["GroupId"], subnet["VpcId"]


def test_a_network_that_exists_passes(examine, network):
    subnet, group, vpc = network
    findings = examine(f"--subnet={subnet}", f"--security-group={group}")[1]
    assert findings["network"] == ("ok", f"{subnet}, {group} in {vpc}")


def test_a_network_that_is_made_up_fails(examine, network):
    subnet, group, _ = network
    findings = examine("--subnet=subnet-0123456789abcdef0", f"--security-group={group}")[1]
    assert findings["network"] == (
        "failed", f"--subnet subnet-0123456789abcdef0 does not exist in {REGION}; correct it, or --region"
    )  # fmt: skip
    findings = examine(f"--subnet={subnet}", "--security-group=sg-0123456789abcdef0")[1]
    assert findings["network"][0] == "failed"
    assert "--security-group sg-0123456789abcdef0 does not exist" in findings["network"][1]


def test_a_network_of_two_vpcs_fails(examine, network):
    ec2 = boto3.client("ec2")
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="other", Description="other", VpcId=other)["GroupId"]
    level, text = examine(f"--subnet={network[0]}", f"--security-group={group}")[1]["network"]
    assert level == "failed"
    assert "are not in one VPC" in text


def test_keys_are_looked_at(examine):
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert examine(f"--kms-key={key}")[1]["key"] == ("ok", f"{key} for --kms-key")
    kms.disable_key(KeyId=key)
    assert examine(f"--kms-key={key}")[1]["key"] == (
        "failed", f"--kms-key {key} is Disabled; enable it, or give another key"
    )  # fmt: skip
    level, text = examine("--kms-key=alias/none")[1]["key"]
    assert (level, text) == ("failed", f"--kms-key alias/none does not exist in {REGION}; correct it, or --region")


SAGEMAKER = {"Service": "sagemaker.amazonaws.com"}


def allow(**more):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole"} | more
    return {key: value for key, value in statement.items() if value is not None}


def principal(value, **more):
    return allow(Principal=value, **more)


CONDITION = {"Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}


@pytest.mark.parametrize(
    ("statements", "level"),
    [
        (principal("*", **CONDITION), "warning"),
        ([principal({"AWS": "*"})], "warning"),
        ([principal({"AWS": ["*"]})], "warning"),
        (principal({"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}), "ok"),
        ([principal("*"), principal({"Service": "sagemaker.amazonaws.com"}, **CONDITION)], "ok"),
        (principal({"Service": "sagemaker.amazonaws.com"}, Action=["sts:TagSession", "sts:AssumeRole"]), "ok"),
        (principal({"Service": "sagemaker.amazonaws.com"}, Action="sts:*"), "ok"),
        (principal({"Service": "sagemaker.amazonaws.com"}, Action="sts:TagSession"), "failed"),
        (principal({"Service": "sagemaker.amazonaws.com"}, Effect="Deny"), "failed"),
        (principal({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), "failed"),
        (principal({"Federated": "cognito-identity.amazonaws.com"}), "failed"),
        (allow(NotPrincipal={"AWS": "x"}), "warning"),
        (allow(NotPrincipal={"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}), "failed"),
        (allow(NotPrincipal="*"), "failed"),
        (allow(Principal=SAGEMAKER, Action=None, NotAction="s3:*"), "ok"),
        (allow(Principal=SAGEMAKER, Action=None, NotAction=["s3:*", "sts:Assume*"]), "failed"),
        ([principal(SAGEMAKER), allow(Effect="Deny", NotPrincipal=SAGEMAKER)], "ok"),
        ([principal(SAGEMAKER), allow(Effect="Deny", NotPrincipal={"AWS": "x"})], "failed"),
        (principal(SAGEMAKER, **CONDITION), "ok"),
        (principal(SAGEMAKER, Condition={"StringEquals": {"AWS:SourceAccount": ["1" * 12]}}), "failed"),
        ([], "failed"),
    ],
)
def test_every_legal_trust_policy_is_read(examine, statements, level, monkeypatch):
    policy = {"Version": "2012-10-17", "Statement": statements}
    trust_of = account._trust
    # moto refuses some legal ones
    monkeypatch.setattr(account, "_trust", lambda document, account: trust_of(policy, account))
    assert examine()[1]["role"][0] == level
