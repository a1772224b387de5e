"""The request of `launch.py plan`, from its options."""

import json

import pytest

from launcher.plan.channels import Channel
from support.launching import assert_one_sentence

pytestmark = pytest.mark.usefixtures("no_aws")


def test_plan_prints_the_request(plan, reviews):
    code, out, err = plan(
        "epochs=2", "--job-name=job-1", "--bucket=my-bucket", "--instance-count=2", "label_column=stars"
    )
    request = json.loads(out)
    assert (code, err) == (0, "")
    assert request["TrainingJobName"] == "job-1"
    assert request["HyperParameters"] == {"epochs": "2", "label_column": "stars"}
    assert request["ResourceConfig"]["InstanceCount"] == 2
    [train] = request["InputDataConfig"]
    content = Channel.from_path(reviews).content_hash
    assert train["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://my-bucket/text-classification/data/{content}/"


def test_plan_has_a_channel_for_each_path(plan, reviews, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in ("new.tsv", "old.tsv"):
        (tmp_path / name).write_bytes(reviews.read_bytes())
    _, out, _ = plan(
        "--validation", tmp_path / "new.tsv", "--test", tmp_path / "old.tsv", "--model", tmp_path / "model"
    )
    names = [channel["ChannelName"] for channel in json.loads(out)["InputDataConfig"]]
    assert names == ["train", "validation", "test", "model"]


def test_hyperparameters_may_stand_between_flags(plan):
    _, out, _ = plan("epochs=2", "--max-run", "60", "seed=1")
    assert json.loads(out)["HyperParameters"] == {"epochs": "2", "seed": "1"}


def test_spot_has_checkpoints_of_its_own_and_waits_twice_the_run(plan):
    _, out, _ = plan("--spot", "--max-run", "100", "--job-name", "job-1", "--bucket", "my-bucket")
    request = json.loads(out)
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 200}
    assert request["CheckpointConfig"] == {"S3Uri": "s3://my-bucket/checkpoints/text-classification/job-1/"}


def bucket_of(out):
    return json.loads(out)["OutputDataConfig"]["S3OutputPath"].split("/")[2]


def test_region_is_taken_from_flag_then_environment_then_image(plan, monkeypatch):
    assert bucket_of(plan()[1]) == "sagemaker-eu-west-1-123456789012"
    elsewhere = "registry.example.com/name:v1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert bucket_of(plan(image=elsewhere)[1]) == "sagemaker-us-east-2-123456789012"
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    assert bucket_of(plan(image=elsewhere)[1]) == "sagemaker-ap-south-1-123456789012"
    assert bucket_of(plan("--region=us-west-1", image=elsewhere)[1]) == "sagemaker-us-west-1-123456789012"
    assert_one_sentence(plan(), 2, "--image is in eu-west-1, but the job runs in ap-south-1, and SageMaker pulls")


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"), ("eu-isoe-west-1", "aws-iso-e"), ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"), ("ap-southeast-7", "aws"),
    ],
)  # fmt: skip
def test_the_role_is_in_the_partition_of_the_region(plan, region, partition):
    image, role = "registry.example.com/name:v1", "arn:{}:iam::123456789012:role/training"
    assert plan(f"--region={region}", image=image, role=role.format(partition))[0] == 0
    other = "aws-cn" if partition == "aws" else "aws"
    sentence = f"is in the partition {other}, but {region} is in {partition}; give a role there, or correct --region"
    assert_one_sentence(plan(f"--region={region}", image=image, role=role.format(other)), 2, sentence)


def test_a_configuration_that_cannot_be_parsed_is_named(plan, monkeypatch, tmp_path):
    file = tmp_path / "config"
    file.write_text("[default\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    result = plan(image="registry.example.com/name:v1")
    assert_one_sentence(result, 2, f"Unable to parse config file: {file}; correct that file")


def test_the_longest_wait_for_spot_instances_is_28_days(plan):
    stop = json.loads(plan("--spot", "--max-run=2419200")[1])["StoppingCondition"]
    assert stop == {"MaxRuntimeInSeconds": 2419200, "MaxWaitTimeInSeconds": 2419200}
