"""aws/template.yaml and its creation and deletion: cfn-lint, and moto as CloudFormation."""

import boto3
import pytest
from cfnlint.decode import cfn_yaml
from moto import mock_aws

from launcher.aws import stack
from launcher.plan import request
from support import launching

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")
REGION, ACCOUNT = "eu-west-1", "123456789012"


@pytest.fixture(autouse=True)
def aws(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def run(capsys, *words):
    return stack.main([*words, "--region", REGION]), *capsys.readouterr()


@pytest.fixture
def outputs(capsys):
    """Create the stack."""
    code, out, err = run(capsys, "up")
    assert (code, err) == (0, "")
    return dict(line.split() for line in out.splitlines())


def test_the_bucket_is_closed_and_images_are_scanned():
    """Read from the template, because moto omits these parts."""
    resources = cfn_yaml.load(str(stack.TEMPLATE))["Resources"]
    [statement] = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    bucket = resources["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert resources["Repository"]["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True}
    prefixes = [rule["Prefix"] for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
    assert prefixes == ["checkpoints/"]
    assert request.checkpoints_uri("bucket", "base", "job").startswith("s3://bucket/checkpoints/")


#: What SageMaker does with the role. Source: "Execution Role Permissions" of CreateTrainingJob and CreateModel,
#: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
BY_SAGEMAKER = {
    "s3": {"ListBucket", "GetBucketLocation", "GetObject", "PutObject", "AbortMultipartUpload"},
    "ecr": {"GetAuthorizationToken", "BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"},
    "logs": {"CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"},
    "cloudwatch": {"PutMetricData"},
    "kms": {"Decrypt", "Encrypt", "GenerateDataKey", "DescribeKey", "CreateGrant"},
    "ec2": {
        "CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
        "DeleteNetworkInterfacePermission", "DescribeDhcpOptions", "DescribeNetworkInterfaces",
        "DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs",
    },
}  # fmt: skip

#: Changing actions that AWS allows for all resources only, or SageMaker's documentation asks for on all.
ON_ALL = {
    "cloudwatch:PutMetricData", "ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission",
}  # fmt: skip

#: The condition without which an action must not be allowed.
CONDITIONS = {
    "iam:PassRole": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    "kms:CreateGrant": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
    "cloudwatch:PutMetricData": {
        "StringEquals": {
            "cloudwatch:namespace": [
                "/aws/sagemaker/TrainingJobs",
                "/aws/sagemaker/Endpoints",
                "/aws/sagemaker/TransformJobs",
            ]
        }
    },
}
#: Services through which a key may be used.
THROUGH = [{"Fn::Sub": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"} for service in ("s3", "sagemaker")]


def statements():
    """Each statement of the template that allows something, as the name of its resource, its actions and itself."""
    for name, resource in cfn_yaml.load(str(stack.TEMPLATE))["Resources"].items():
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for statement in (each for document in documents for each in document["Statement"]):
            if statement["Effect"] == "Allow":
                actions = statement["Action"]
                yield name, [actions] if isinstance(actions, str) else actions, statement


def test_the_role_allows_what_sagemaker_does_with_it_and_no_more():
    allowed = {action for name, actions, _ in statements() if name.startswith("Role") for action in actions}
    assert allowed == {f"{service}:{action}" for service, actions in BY_SAGEMAKER.items() for action in actions}


def test_no_statement_is_wider_than_it_has_to_be():
    found = list(statements())
    assert len(found) > 15
    for name, actions, statement in found:
        place = f"{name}: {actions}"
        assert not any("*" in action for action in actions), place
        assert not any(action.startswith("s3:Delete") for action in actions), place
        for action in actions:
            is_reading = action.split(":")[1].startswith(("Describe", "List", "Get"))
            assert statement["Resource"] != "*" or is_reading or action in ON_ALL, place
            if action in CONDITIONS:
                assert statement["Condition"] == CONDITIONS[action], place
            if action in ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"):
                assert statement["Condition"] == {"StringEquals": {"kms:ViaService": THROUGH}}, place


def test_services_take_the_roles_for_this_account_and_region_only():
    resources = cfn_yaml.load(str(stack.TEMPLATE))["Resources"]
    roles = [resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::IAM::Role"]
    assert roles
    for role in roles:
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            service = statement["Principal"]["Service"].partition(".")[0]
            source = {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:*"}
            assert statement["Condition"] == {
                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
                "ArnLike": {"aws:SourceArn": source},
            }


def test_up_makes_all_that_a_job_needs(outputs, capsys):
    s3, bucket = boto3.client("s3"), outputs["Bucket"]
    assert bucket == f"text-classification-{ACCOUNT}-{REGION}"
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    [repository] = boto3.client("ecr").describe_repositories()["repositories"]
    assert repository["repositoryUri"] == outputs["Repository"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert outputs["Role"].startswith(f"arn:aws:iam::{ACCOUNT}:role/")

    assert run(capsys, "up")[0] == 0  # a second time changes nothing


def test_a_key_of_yours_encrypts_the_bucket_and_may_be_used(capsys):
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    code, out, err = run(capsys, "up", "--parameter", f"KmsKeyArn={key}", "--parameter", "UseVpc=true")
    assert (code, err) == (0, "")
    made = dict(line.split() for line in out.splitlines())
    [rule] = boto3.client("s3").get_bucket_encryption(Bucket=made["Bucket"])["ServerSideEncryptionConfiguration"][
        "Rules"
    ]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    iam = boto3.client("iam")
    role = made["Role"].rpartition("/")[2]
    allowed = iam.get_role_policy(RoleName=role, PolicyName="key")["PolicyDocument"]["Statement"]
    assert {statement["Resource"] for statement in allowed} == {key}
    assert allowed[2]["Action"] == "kms:CreateGrant"
    assert "ec2:CreateNetworkInterface" in str(iam.get_role_policy(RoleName=role, PolicyName="vpc"))
    policy = iam.get_policy(PolicyArn=made["PersonPolicy"])["Policy"]
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
    listed = version["PolicyVersion"]["Document"]["Statement"]
    with_key = [entry["Resource"] for entry in listed if "kms:" in str(entry["Action"])]
    assert with_key == [key] * 3

    assert run(capsys, "up")[0] == 0  # parameters not given keep their values
    [stack_now] = boto3.client("cloudformation").describe_stacks(StackName=stack.STACK)["Stacks"]
    values = {entry["ParameterKey"]: entry.get("ParameterValue") for entry in stack_now["Parameters"]}
    assert (values["KmsKeyArn"], values["UseVpc"]) == (key, "true")


def test_down_deletes_it(outputs, capsys):
    assert run(capsys, "down") == (0, "Deleted the stack text-classification\n", "")
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    code, _, err = run(capsys, "down")
    assert code == 3
    assert (
        err
        == f"stack: there is no stack text-classification in {REGION}; give its --region, or its name with --stack\n"
    )


def test_down_keeps_what_people_made_unless_told(outputs, capsys):
    s3 = boto3.client("s3")
    s3.put_object(Bucket=outputs["Bucket"], Key="model.tar.gz", Body=b"x")
    code, _, err = run(capsys, "down")
    assert code == 3
    assert "has 1 objects" in err
    assert "--with-contents" in err
    assert s3.list_objects_v2(Bucket=outputs["Bucket"])["KeyCount"] == 1
    assert run(capsys, "down", "--with-contents")[0] == 0
    assert s3.list_buckets()["Buckets"] == []


def test_down_deletes_all_versions_of_a_bucket_with_versioning(outputs, capsys):
    s3, bucket = boto3.client("s3"), outputs["Bucket"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=body)
    s3.delete_object(Bucket=bucket, Key="model.tar.gz")
    code, _, err = run(capsys, "down")
    assert code == 3
    assert "has 3 objects (with all versions)" in err
    stack._empty(REGION, outputs, with_contents=True)
    found = s3.list_object_versions(Bucket=bucket)
    assert not {"Versions", "DeleteMarkers"} & found.keys()
    assert run(capsys, "down") == (0, "Deleted the stack text-classification\n", "")


@pytest.mark.parametrize(
    ("operation", "answer", "sentence"),
    [
        (
            "DeleteObjects",
            {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "Access Denied."}]},
            "/a is not deleted (AccessDenied: Access Denied); remove what keeps it, and run the command again\n",
        ),
        (
            "BatchDeleteImage",
            {"failures": [{"imageId": {"imageDigest": "sha256:1"}, "failureCode": "C", "failureReason": "Why."}]},
            "the image sha256:1 of sagemaker-text-classification is not deleted (C: Why); remove what keeps it,",
        ),
    ],
)
def test_what_is_not_deleted_is_named(outputs, capsys, monkeypatch, operation, answer, sentence):
    boto3.client("s3").put_object(Bucket=outputs["Bucket"], Key="a", Body=b"x")
    launching.answer(monkeypatch, "ListImages", {"imageIds": [{"imageDigest": "sha256:1"}]})
    launching.answer(monkeypatch, operation, answer)
    code, out, err = run(capsys, "down", "--with-contents")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert sentence in err


def test_down_refuses_a_stack_that_is_being_created(capsys, monkeypatch):
    found = {"StackName": stack.STACK, "StackStatus": "CREATE_IN_PROGRESS"}
    launching.answer(monkeypatch, "DescribeStacks", {"Stacks": [found]})
    code, _, err = run(capsys, "down")
    assert code == 3
    assert err.startswith("stack: the stack text-classification is CREATE_IN_PROGRESS and has no outputs; try again")


@pytest.mark.parametrize("command", ["up", "down"])
def test_credentials_that_cannot_be_loaded_are_one_sentence(capsys, monkeypatch, command):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    code, _, err = run(capsys, command)
    assert (code, err.count("\n")) == (3, 1)
    assert "no-such-profile" in err and "set AWS_PROFILE to a profile in ~/.aws/config" in err


def test_ctrl_c_says_what_happens_to_the_stack(capsys, monkeypatch):
    launching.fail(monkeypatch, "DescribeStacks", KeyboardInterrupt())
    code, _, err = run(capsys, "up")
    assert code == 130
    assert err == (
        "stack: interrupted; AWS finishes what it has begun: see the stack text-classification in the CloudFormation "
        "console\n"
    )


def test_further_buckets_may_be_read_and_not_written(capsys):
    arns = ["arn:aws:s3:::one", "arn:aws:s3:::two"]
    code, out, err = run(capsys, "up", "--parameter", f"DataBuckets={','.join(arns)}")
    assert (code, err) == (0, "")
    role = dict(line.split() for line in out.splitlines())["Role"].rpartition("/")[2]
    policy = boto3.client("iam").get_role_policy(RoleName=role, PolicyName="data")["PolicyDocument"]
    find, read = policy["Statement"]
    assert find["Resource"] == arns
    assert read["Resource"] == [f"{arn}/*" for arn in arns]
    assert read["Action"] == "s3:GetObject"


def test_without_further_buckets_there_is_no_policy_for_them(outputs):
    names = boto3.client("iam").list_role_policies(RoleName=outputs["Role"].rpartition("/")[2])["PolicyNames"]
    assert "data" not in names
