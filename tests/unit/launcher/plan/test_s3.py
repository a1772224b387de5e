"""URIs of data that is in S3 already, without a look at it."""

import json
from pathlib import Path

import pytest

from launcher.plan.s3 import S3Uri, location, needed
from support.launching import assert_one_sentence

pytestmark = pytest.mark.usefixtures("no_aws")


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("s3://my-bucket/reviews/", "s3://my-bucket/reviews/"),
        ("s3://my-bucket/reviews", "s3://my-bucket/reviews/"),
        ("s3://my-bucket/reviews.tsv", "s3://my-bucket/reviews.tsv"),
        ("s3://my-bucket/a b/ä:1.csv", "s3://my-bucket/a b/ä:1.csv"),
        ("s3://my-bucket/", "s3://my-bucket/"),
        ("s3://my-bucket", "s3://my-bucket/"),
        ("S3://my-bucket/Reviews/", "s3://my-bucket/Reviews/"),
        ("s3a://my-bucket/x.csv", "s3://my-bucket/x.csv"),
        (" s3://my-bucket/x/\r", "s3://my-bucket/x/"),
        ("'s3://my-bucket/x/'", "s3://my-bucket/x/"),
    ],
)
def test_a_uri_names_an_object_or_a_folder(text, guess):
    uri = location(text)
    assert isinstance(uri, S3Uri)
    assert str(uri.guess) == guess


@pytest.mark.parametrize("text", ["reviews.tsv", "s3", "data:2026", "s3.csv", "s3:2026.csv", "/data/s3://x"])
def test_a_path_is_a_path(text):
    assert location(text) == Path(text)


@pytest.mark.parametrize(
    "text", ["s3:/x", "s3://My_Bucket/x", "s3://a..b/x", "s3://10.0.0.1/x", "s3:///x", "s3://", "s3://b"]
)
def test_a_mistyped_uri_is_one_sentence_that_shows_it_as_typed(plan, text):
    sentence = f"{text!r} is not the URI of a folder or object in S3; write it like s3://bucket/folder/"
    assert_one_sentence(plan(data=text), 2, "argument --data", sentence)


@pytest.mark.parametrize(
    "text",
    [
        "s3:/my-bucket/a b.csv",
        "s3:///my-bucket/a b.csv",
        "arn:aws:s3:::my-bucket/a b.csv",
        "arn:aws-cn:s3:::my-bucket/a b.csv",
        "https://my-bucket.s3.amazonaws.com/a%20b.csv",
        "https://my-bucket.s3.eu-west-1.amazonaws.com/a%20b.csv?versionId=1",
        "https://my-bucket.s3.cn-north-1.amazonaws.com.cn/a%20b.csv",
        "https://s3.eu-west-1.amazonaws.com/my-bucket/a%20b.csv",
        "http://s3-eu-west-1.amazonaws.com/my-bucket/a%20b.csv",
    ],
)
def test_another_way_to_name_an_object_is_answered_with_its_uri(plan, text):
    sentence = f"{text!r} is not an S3 URI; write s3://my-bucket/a b.csv;"
    assert_one_sentence(plan(data=text), 2, "argument --data", sentence)


@pytest.mark.parametrize(
    "text", ["arn:aws:s3:eu-west-1:123456789012:accesspoint/one", "s3://arn:aws:s3:eu-west-1:1:accesspoint/one/x/"]
)
def test_an_access_point_goes_by_its_alias(plan, text):
    assert_one_sentence(plan(data=text), 2, f"{text!r} is an access point; give its alias, as in s3://my-access-point-")


@pytest.mark.parametrize("text", ["file://{}", "file:{}", "FILE://localhost{}"])
def test_the_uri_of_a_file_is_its_path(text, tmp_path):
    assert location(text.format(tmp_path)) == tmp_path
    assert location(text.format(f"{tmp_path}/a%20b")) == tmp_path / "a b"
    (tmp_path / "c%20d").touch()
    assert location(text.format(f"{tmp_path}/c%20d")) == tmp_path / "c%20d"
    assert location("file://reviews.tsv") == Path("reviews.tsv")


def test_a_tilde_is_the_home_folder(command, plan, tmp_path, monkeypatch):
    """A shell expands it neither in --data=~/x nor in train.yaml."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert location("~/x.tsv") == tmp_path / "x.tsv"
    for name in ("x.tsv", "y.tsv"):
        (tmp_path / name).write_text("label\ttext\n1\tgood\n")
    (tmp_path / "job.yaml").write_text("validation: ~/y.tsv\n")
    assert plan("--config=~/job.yaml", data="~/x.tsv")[0] == 0
    assert_one_sentence(command("serve", "~/model"), 2, f"MODEL {tmp_path}/model does not exist; give a path")


@pytest.mark.parametrize(
    "text", ["https://example.com/x.csv", "https://my-bucket.example.com/x", "gs://b/x", "azure://b/x", "hf://x/y"]
)
def test_other_places_are_one_sentence(plan, text):
    assert_one_sentence(
        plan(data=text), 2, f"{text!r} cannot be read; give a path on this machine, or a URI like s3://"
    )


def test_the_uri_is_that_of_the_channel(plan, reviews, tmp_path):
    out = plan("--validation", reviews, "--model=s3://my-bucket/model/", data="s3://my-bucket/reviews/")[1]
    train, validation, model = json.loads(out)["InputDataConfig"]
    assert train["DataSource"]["S3DataSource"] == {
        "S3DataType": "S3Prefix",
        "S3Uri": "s3://my-bucket/reviews/",
        "S3DataDistributionType": "FullyReplicated",
    }
    assert validation["DataSource"]["S3DataSource"]["S3Uri"].startswith("s3://sagemaker-eu-west-1-")
    assert model["DataSource"]["S3DataSource"]["S3Uri"] == "s3://my-bucket/model/"
    file = tmp_path / "job.yaml"
    file.write_text("test: s3://my-bucket/test\n")
    out = plan(f"--config={file}")[1]
    assert json.loads(out)["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://my-bucket/test/"


def test_the_training_data_alone_is_sharded(plan):
    out = plan("--distribution=ShardedByS3Key", "--validation=s3://b-1/v/", data="s3://b-1/t/")[1]
    kinds = [
        entry["DataSource"]["S3DataSource"]["S3DataDistributionType"] for entry in json.loads(out)["InputDataConfig"]
    ]
    assert kinds == ["ShardedByS3Key", "FullyReplicated"]
    assert_one_sentence(plan("--distribution=Sharded"), 2, "use FullyReplicated or ShardedByS3Key")


def test_a_network_isolated_job_may_take_its_model_from_s3(plan):
    assert plan("--network-isolation", "--model=s3://b-1/model/")[0] == 0


@pytest.mark.parametrize("words", [["local"], ["local", "--validation=s3://b-1/v/"]])
def test_local_mode_says_that_it_reads_files_here(command, reviews, words):
    data = reviews if len(words) > 1 else "s3://b-1/t/"
    assert_one_sentence(command(*words, f"--data={data}"), 2, "is in S3, but this command reads files on this machine")


def test_what_a_job_does_not_need_is_not_counted():
    sizes = {"r/_SUCCESS": 1, "r/": 0, "r/a.csv": 5, "r/b.csv": 0, "r/.x/c.csv": 3, "r/day=1/d.csv": 2}
    assert needed(S3Uri("b", "r/"), sizes) == {"a.csv": 5, "day=1/d.csv": 2}
    assert needed(S3Uri("b", "r/README.md"), {"r/README.md": 4}) == {"README.md": 4}
