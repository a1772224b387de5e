"""Uploads, buckets and downloads."""

import io
import json
import tarfile

import boto3
import botocore.client
import pytest
from boto3.exceptions import RetriesExceededError
from botocore.exceptions import EndpointConnectionError

import launch
from launcher import ROOT
from launcher.aws import commands, storage
from launcher.local import comparison
from support.launching import ACCOUNT, BUCKET, JOB, REGION, assert_one_sentence, keys, refuse

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")


def test_the_same_data_is_sent_once(train, aws_stub, reviews):
    assert ": 25 of 25 bytes uploaded\n" in train()[1]
    assert ": already uploaded\n" in train(name="reviews-2")[1]
    reviews.write_text("label\ttext\npositive\tevil\n")
    assert ": 25 of 25 bytes uploaded\n" in train(name="reviews-3")[1]
    assert len(keys()) == 2


def test_folders_are_uploaded_whole_each_to_its_channel(train, aws_stub, tmp_path):
    for file in ("model/config.json", "model/model.safetensors", "validation/inner/rows.tsv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    code, _, err = train("--validation", tmp_path / "validation", "--model", tmp_path / "model")
    assert (code, err) == (0, "")
    uris = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
        for channel in aws_stub.jobs[JOB]["InputDataConfig"]
    }
    expected = {
        f"{uris['train']}reviews.tsv",
        f"{uris['validation']}inner/rows.tsv",
        f"{uris['model']}config.json",
        f"{uris['model']}model.safetensors",
    }
    assert {f"s3://{BUCKET}/{key}" for key in keys()} == expected


def test_uploads_are_encrypted_with_the_key_that_is_given(train):
    assert train("--kms-key=alias/mine")[0] == 0
    [key] = keys()
    assert boto3.client("s3").head_object(Bucket=BUCKET, Key=key)["SSEKMSKeyId"] == "alias/mine"


def archive(**members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(data or b"")
            tar.addfile(member, io.BytesIO(data or b""))
    return content.getvalue()


@pytest.fixture
def artifacts(aws_stub, job):
    """Put a job's archives into S3."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    prefix = f"text-classification/{JOB}/output"
    aws_stub.end(JOB, ModelArtifacts={"S3ModelArtifacts": f"s3://{BUCKET}/{prefix}/model.tar.gz"})
    return lambda name, content: s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}.tar.gz", Body=content)


def test_download_fetches_and_unpacks(command, artifacts, tmp_path):
    artifacts("model", archive(**{"config.json": b"{}"}))
    artifacts("output", archive(**{"data/metrics.json": b"{}"}))
    code, out, err = command("download", JOB, "--to", tmp_path / "x", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"model": f"{tmp_path}/x/model", "output": f"{tmp_path}/x/output"}
    assert (tmp_path / "x" / "model" / "config.json").read_text() == "{}"
    assert (tmp_path / "x" / "output" / "data" / "metrics.json").read_text() == "{}"
    assert_one_sentence(command("download", JOB, "--to", tmp_path / "x"), launch.WRONG_USE, "already exists; delete it")


@pytest.mark.parametrize("content", [archive(**{"../outside": b"x"}), archive(link=None), b"not an archive"])
def test_download_unpacks_nothing_unsafe(command, artifacts, tmp_path, content):
    artifacts("model", content)
    result = command("download", JOB, "--to", tmp_path / "x")
    assert_one_sentence(result, launch.REFUSED, "model.tar.gz was not unpacked")
    assert not (tmp_path / "x" / "outside").exists()
    assert list((tmp_path / "x" / "model").glob("*")) == []


def test_a_damaged_archive_is_downloaded_again(command, artifacts, tmp_path):
    content = archive(**{"config.json": bytes(range(256)) * 4000})
    for place in (len(content) // 2, len(content) - 6):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        artifacts("model", bytes(damaged))
        result = command("download", JOB, "--to", tmp_path / "x")
        assert_one_sentence(
            result, launch.REFUSED, "model.tar.gz was not unpacked: model.tar.gz is damaged: ",
            "; the same command downloads it again",
        )  # fmt: skip
    artifacts("model", content)
    assert command("download", JOB, "--to", tmp_path / "x")[0] == 0


def test_download_of_a_job_without_results(command, artifacts, aws_stub, tmp_path):
    assert_one_sentence(
        command("download", JOB, "--to", tmp_path / "x"), launch.REFUSED, "has neither a model nor output"
    )
    aws_stub.jobs[JOB]["TrainingJobStatus"] = "InProgress"
    assert_one_sentence(command("download", JOB), launch.REFUSED, "is still InProgress", f"attach {JOB} --region")


def test_compare_downloads_a_job_once(command, artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "DOWNLOADS", tmp_path / "jobs")
    monkeypatch.setattr(comparison, "RESULTS", (tmp_path / "jobs",))
    artifacts("model", archive(**{"config.json": b"{}"}))
    metrics = json.dumps({"schema_version": 1, "rows": {"validation": 9}, "epochs": [], "accuracy": 0.5}).encode()
    artifacts("output", archive(**{"data/metrics.json": metrics}))
    page = tmp_path / "pages" / "page.html"
    for downloads in (True, False):
        code, out, err = command("compare", JOB, JOB, "--output", page)
        assert (code, err) == (0, "") and ("jobs/" in out.partition("Runs")[0]) == downloads
        assert "accuracy  0.5000" in out and page.is_file()


def test_downloads_lie_in_build_by_default():
    assert commands.DOWNLOADS == ROOT / "build" / "jobs"


def test_an_own_bucket_is_used_but_never_made(train):
    assert_one_sentence(
        train("--bucket=my-bucket"),
        launch.REFUSED,
        "the bucket my-bucket does not exist; create it, or give another --bucket",
    )
    boto3.client("s3").create_bucket(Bucket="my-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert train("--bucket=my-bucket")[0] == 0
    assert len(keys("my-bucket")) == 1


def test_the_default_bucket_of_a_stranger_is_refused(train, monkeypatch):
    refuse(monkeypatch, "HeadBucket", "403", "Forbidden", status=403)
    assert_one_sentence(
        train(), launch.REFUSED, f"the bucket {BUCKET} is not accessible with these credentials; give another --bucket"
    )


def test_the_default_bucket_is_asked_for_with_its_owner(train, monkeypatch):
    calls = []
    call = botocore.client.BaseClient._make_api_call

    def recorded(self, operation, arguments):
        calls.append((operation, arguments.get("ExpectedBucketOwner")))
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    assert train()[0] == 0
    for operation in ("HeadBucket", "ListObjectsV2", "PutObject"):
        assert (operation, ACCOUNT) in calls


@pytest.mark.parametrize("error", [RetriesExceededError("x"), EndpointConnectionError(endpoint_url="https://s3")])
def test_a_download_that_was_cut_off_goes_on(command, artifacts, tmp_path, monkeypatch, error):
    artifacts("model", archive(**{"config.json": b"{}"}))
    artifacts("output", archive(**{"data/metrics.json": b"{}"}))
    fetched = []
    fetch = storage.fetch

    def fetch_one(s3, uri, file, size):
        if not file.exists():
            fetched.append(file.name)
        if len(fetched) == 2 and file.name == "output.tar.gz":
            raise error
        fetch(s3, uri, file, size)

    monkeypatch.setattr(storage, "fetch", fetch_one)
    folder = tmp_path / "x"
    assert_one_sentence(command("download", JOB, "--to", folder), launch.REFUSED, "the same command resumes")
    (folder / "model" / "half").write_text("unpacked by a run that was killed")
    assert command("download", JOB, "--to", folder)[0] == 0
    assert fetched == ["model.tar.gz", "output.tar.gz", "output.tar.gz"]
    assert sorted(path.name for path in folder.iterdir()) == ["model", "model.tar.gz", "output", "output.tar.gz"]
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["config.json"]
    assert_one_sentence(command("download", JOB, "--to", folder), launch.WRONG_USE, "already exists; delete it")


def test_a_cut_off_download_of_another_job_is_not_continued(command, artifacts, tmp_path):
    artifacts("model", archive(**{"config.json": b"{}"}))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".unfinished-download").write_text("another")
    assert_one_sentence(command("download", JOB, "--to", tmp_path / "x"), launch.WRONG_USE, "already exists")
