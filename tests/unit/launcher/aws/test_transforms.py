"""launch.py transform: what it uploads and creates, and what it says."""

import json
import signal

import boto3
import pytest

import launch
from launcher.aws import transform_command
from support import launching
from support.launching import BUCKET, JOB, REGION, ROLE, assert_one_sentence, keys

pytestmark = pytest.mark.usefixtures("completed", "clock")


@pytest.fixture
def new(tmp_path):
    file = tmp_path / "new.csv"
    file.write_text('text\nfine\n"a, b"\n')
    return file


@pytest.fixture
def transform(command, new):
    """Run `launch.py transform` on a file."""

    def run(*words, data=new, name="scores-1"):
        return command("transform", JOB, f"--data={data}", f"--name={name}", *words)

    return run


def put(key, body):
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)


def test_a_file_is_classified_and_downloaded_and_no_model_is_left(transform, aws_stub, tmp_path):
    put("transform/scores-1/new.csv.out", b"predicted,probability_a\na,0.9\nERROR\n")
    code, out, err = transform(f"--download={tmp_path / 'scores'}", "--count=2", "--tag=team=reviews")
    assert (code, err) == (0, "")
    job = aws_stub.transform_jobs["scores-1"]
    [uploaded] = [key for key in keys() if key.startswith("transform/data/")]
    assert uploaded.endswith("/new.csv")
    assert job["TransformInput"] == {
        "DataSource": {
            "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{uploaded.removesuffix('new.csv')}"}
        },
        "ContentType": "text/csv",
        "SplitType": "Line",
    }
    assert job["TransformOutput"] == {
        "S3OutputPath": f"s3://{BUCKET}/transform/scores-1/", "Accept": "text/csv", "AssembleWith": "Line",
    }  # fmt: skip
    assert job["TransformResources"] == {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2}
    assert (job["BatchStrategy"], job["MaxPayloadInMB"]) == ("MultiRecord", 1)
    assert job["Environment"] == {"SERVE_BAD_RECORDS": "mark", "SERVE_MAX_WAIT_SECONDS": "3600"}
    assert {"Key": "team", "Value": "reviews"} in aws_stub.tags[job["TransformJobArn"]]
    assert aws_stub.hosting["Model"] == {}
    assert "--- InProgress\n--- Completed\n" in out
    assert (tmp_path / "scores" / "new.csv.out").read_bytes().endswith(b"ERROR\n")
    assert "lines             3\nerrors            1\n" in out


def test_the_same_command_again_finds_the_job(transform, aws_stub):
    assert transform()[0] == 0
    code, out, _ = transform()
    assert code == 0 and "Transform job scores-1 was already started" in out and "already uploaded" in out
    assert_one_sentence(
        transform("--count=2"), launch.REFUSED,
        "transform job scores-1 already exists with a different TransformResources; give another --name",
    )  # fmt: skip
    assert aws_stub.hosting["Model"] == {}


def test_json_lines_and_texts_have_answers_in_json_lines(transform, aws_stub, tmp_path):
    for name, sent in (("a.jsonl", "application/jsonlines"), ("a.txt", "text/plain")):
        (tmp_path / name).write_text('"a text"\n')
        assert transform(data=tmp_path / name, name=name.replace(".", "-"))[0] == 0
        job = aws_stub.transform_jobs[name.replace(".", "-")]
        assert (job["TransformInput"]["ContentType"], job["TransformOutput"]["Accept"]) == (
            sent, "application/jsonlines",
        )  # fmt: skip


def test_objects_in_s3_are_read_in_place(command, aws_stub):
    put("mine/part-1.jsonl", b'"a"\n')
    code, _, err = command(
        "transform", JOB, f"--data=s3://{BUCKET}/mine/", f"--output=s3://{BUCKET}/scores",
        "--environment=SERVE_TOP_K=all", "--environment=SERVE_BAD_RECORDS=fail", "--kms-key=key-1",
    )  # fmt: skip
    assert (code, err) == (0, "")
    [job] = aws_stub.transform_jobs.values()
    assert job["TransformJobName"].startswith(f"{JOB}-2")
    assert job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://{BUCKET}/mine/"
    assert job["TransformOutput"]["S3OutputPath"] == f"s3://{BUCKET}/scores/"
    assert job["TransformOutput"]["KmsKeyId"] == "key-1"
    assert "SERVE_BAD_RECORDS" not in job["Environment"]  # the model's is the user's
    missing = command("transform", JOB, f"--data=s3://{BUCKET}/nothing/")
    assert_one_sentence(missing, launch.REFUSED, "has no objects; correct the URI")


def test_a_plan_has_the_requests_and_the_price_and_creates_nothing(transform, aws_stub):
    plan = json.loads(transform("--plan", "--count=3", "--json")[1])
    assert list(plan["requests"]) == ["CreateModel", "CreateTransformJob"]
    assert plan["bill"].startswith("USD 0.612 per hour while it runs; price from aws/prices.csv")
    assert aws_stub.transform_jobs == {} and keys() == [key for key in keys() if not key.startswith("transform/")]
    text = transform("--plan")[1]
    assert f"as {ROLE}" in text and "runs on    1 x ml.c5.xlarge" in text
    assert transform("--count=3")[0] == 0
    job = aws_stub.transform_jobs["scores-1"]
    assert {key: job[key] for key in plan["requests"]["CreateTransformJob"] if key in job} == {
        key: value for key, value in plan["requests"]["CreateTransformJob"].items() if key != "Tags"
    }


def test_a_failed_job_shows_its_log_and_its_reason(transform, aws_stub):
    aws_stub.transform_statuses = ["InProgress", "Failed"]
    aws_stub.failure_reason = "ClientError: See job logs for more information."
    aws_stub.log("scores-1", *(f"line {number}" for number in range(30)))
    code, out, err = transform()
    assert code == launch.FAILED
    assert [line for line in out.splitlines() if line.startswith("line")] == [f"line {n}" for n in range(30)]
    assert "reason            ClientError: See job logs" in out
    assert err == (
        "launch.py: transform job scores-1 ended with status Failed. ClientError: See job logs for more information; "
        "to try again, give another --name\n"
    )
    assert aws_stub.hosting["Model"] == {}


def test_a_refusal_leaves_nothing_and_names_the_quota(transform, aws_stub, monkeypatch):
    says = "The account-level service limit 'ml.c5.xlarge for transform job usage' is 0 Instances"
    launching.refuse(monkeypatch, "CreateTransformJob", "ResourceLimitExceeded", says)
    assert_one_sentence(transform(), launch.REFUSED, "'ml.c5.xlarge for transform job usage' is 0", "quota increase")
    assert aws_stub.hosting["Model"] == {}


@pytest.mark.parametrize("fault", ["503", "lost"])
def test_faults_start_exactly_one(transform, aws_stub, fault):
    for operation in ("CreateModel", "CreateTransformJob", "DescribeTransformJob", "DeleteModel"):
        aws_stub.faults[operation] = [fault] * (1 if fault == "lost" else 2)
    assert transform()[0] == 0
    assert list(aws_stub.transform_jobs) == ["scores-1"] and aws_stub.hosting["Model"] == {}


def test_an_interrupt_says_how_to_go_on_and_stop_stops_it(transform, command, aws_stub, clock):
    aws_stub.transform_statuses = ["InProgress"]
    clock.plan = [(clock.now + 10, lambda: signal.raise_signal(signal.SIGINT))]
    code, _, err = transform()
    assert code == 130
    assert f"the same command with --name=scores-1 resumes, `launch.py stop scores-1 --region {REGION}` stops it" in err
    code, out, _ = command("stop", "scores-1")
    assert code == 0 and "Transform job scores-1 is Stopped" in out
    assert aws_stub.hosting["Model"] == {}
    assert_one_sentence(command("stop", "scores-1"), launch.REFUSED, "cannot be stopped: it is already Stopped")


def test_a_model_that_is_not_deleted_does_not_keep_the_scores(transform, monkeypatch, tmp_path):
    put("transform/scores-1/new.csv.out", b"a,0.9\n")
    launching.refuse(monkeypatch, "DeleteModel", "AccessDeniedException", "no")
    code, _, err = transform(f"--download={tmp_path / 'scores'}")
    assert (code, err.count("\n")) == (0, 1)
    assert (
        err.startswith("WARNING: model scores-1 is not deleted")
        and f"`launch.py undeploy scores-1 --region {REGION}` deletes it" in err
    )
    assert (tmp_path / "scores" / "new.csv.out").read_bytes() == b"a,0.9\n"


def test_nothing_is_written_outside_of_the_folder(transform, tmp_path):
    put("transform/scores-1/../../x.out", b"a,0.9\n")
    result = transform(f"--download={tmp_path / 'scores'}")
    assert_one_sentence(result, launch.FAILED, "would be written outside of")
    assert not list(tmp_path.rglob("x.out"))


def test_files_that_are_there_are_kept(transform, tmp_path):
    put("transform/scores-1/new.csv.out", b"a,0.9\n")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "new.csv.out").write_text("mine")
    result = transform(f"--download={tmp_path / 'scores'}")
    assert_one_sentence(
        result, launch.FAILED, f"but its scores in s3://{BUCKET}/transform/scores-1/ are not downloaded: ",
        "new.csv.out exists with other content; give another folder",
    )  # fmt: skip
    assert (tmp_path / "scores" / "new.csv.out").read_text() == "mine"


@pytest.mark.parametrize("below", ["", "/scores"])
def test_a_file_in_place_of_the_folder_is_refused_before_the_job_is_paid(transform, aws_stub, tmp_path, below):
    (tmp_path / "file").write_text("mine")
    result = transform(f"--download={tmp_path / 'file'}{below}")
    assert_one_sentence(result, launch.WRONG_USE, f"cannot be a folder: {tmp_path / 'file'} is a file; give another")
    assert aws_stub.transform_jobs == {}


def test_status_says_what_the_job_cost(transform, command, aws_stub):
    transform("--count=2")
    code, out, err = command("status", "scores-1", "--price=1.5")
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["transform"] == "scores-1" and lines["status"] == "Completed"
    assert lines["instances"] == "2 ml.c5.xlarge"
    assert (lines["billable_seconds"], lines["cost"]) == ("360", "0.3")
    assert lines["scores"] == f"s3://{BUCKET}/transform/scores-1/"
    aws_stub.transform_jobs["scores-1"]["statuses"] = ["InProgress"]
    running = json.loads(command("status", "scores-1", "--json")[1])
    assert running["status"] == "InProgress" and "started" in running
    assert not {"ended", "cost", "billable_seconds"} & running.keys()
    aws_stub.transform_jobs["scores-1"]["statuses"] = ["Failed"]
    assert json.loads(command("status", "scores-1", "--json")[1])["reason"] == aws_stub.failure_reason


def test_attach_follows_a_transform_job_and_deletes_its_model(transform, command, aws_stub, clock):
    aws_stub.transform_statuses = ["InProgress"]
    clock.plan = [(clock.now + 10, lambda: signal.raise_signal(signal.SIGINT))]
    assert transform()[0] == 130
    assert list(aws_stub.hosting["Model"]) == ["scores-1"]

    def end():
        aws_stub.log("scores-1", "a late line", host="i-0123")
        aws_stub.transform_jobs["scores-1"]["statuses"] = ["Completed"]

    clock.plan = [(clock.now + 10, end)]
    code, out, err = command("attach", "scores-1")
    assert (code, err) == (0, "")
    assert out.startswith("--- InProgress\n--- Completed\na late line\n")
    last = f"Transform job scores-1 completed; its scores are in s3://{BUCKET}/transform/scores-1/"
    assert out.splitlines()[-1] == last
    assert aws_stub.hosting["Model"] == {}


def test_attach_keeps_the_model_of_another_program(command, aws_stub, clock):
    for name in ("theirs", "shared"):
        aws_stub.answer("CreateModel", {"ModelName": name, "PrimaryContainer": {}})
    for name, model in (("theirs", "theirs"), ("other", "shared")):
        aws_stub.answer(
            "CreateTransformJob",
            {
                "TransformJobName": name,
                "ModelName": model,
                "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": "s3://b/in/"}}},
                "TransformOutput": {"S3OutputPath": "s3://b/out/"},
                "TransformResources": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
            },
        )
        assert command("attach", name)[0] == 0
    assert list(aws_stub.hosting["Model"]) == ["theirs", "shared"]


def test_the_model_of_an_endpoint_of_the_same_name_stays(transform, command, aws_stub):
    assert command("deploy", JOB, "--name=scores-1")[0] == 0
    assert transform()[0] == 0
    assert [list(found) for found in aws_stub.hosting.values()] == [["scores-1"]] * 3
    assert command("undeploy", "scores-1")[0] == 0
    assert not any(aws_stub.hosting.values())


def test_logs_says_whose_log_it_prints(transform, command, aws_stub, clock):
    aws_stub.transform_statuses = ["InProgress"]
    aws_stub.log("scores-1", "a", host="i-0123")
    clock.plan = [(clock.now + 10, lambda: signal.raise_signal(signal.SIGINT))]
    transform()
    whose = "Log of transform job scores-1 (/aws/sagemaker/TransformJobs)\n"
    assert command("logs", "scores-1") == (0, "a\n", whose)
    clock.plan = [(clock.now + 10, lambda: aws_stub.transform_jobs["scores-1"].update(statuses=["Completed"]))]
    assert command("logs", "scores-1", "--follow") == (0, "--- InProgress\na\n--- Completed\n", whose)


def test_list_has_transform_jobs_among_the_others(transform, command):
    transform(name=f"{JOB}-scores")
    out = command("list", "--base-job-name=reviews")[1]
    assert [line.split("  ")[-2:] for line in out.splitlines() if "scores" in line] == [
        [f"{JOB}-scores", "(transform job)"]
    ]
    [found] = json.loads(command("list", "--base-job-name=scores", "--json")[1])
    assert (found["job"], found["kind"]) == (f"{JOB}-scores", "transform_job")


def test_what_needs_a_training_job_says_so(transform, command):
    transform()
    for words in (("download", "scores-1"), ("deploy", "scores-1", "--name=x")):
        assert_one_sentence(
            command(*words), launch.REFUSED,
            f"scores-1 is a transform job, whose scores are in s3://{BUCKET}/transform/scores-1/",
        )  # fmt: skip


FILES = {
    "tabs.tsv": b"a\tb\n",
    "none": b"a\n",
    "empty.csv": b"",
    "lines.csv": b'a\n"b\nc"\nd\n',
    "long.txt": b"a\n" + b"b" * (1 << 20) + b"b\n",
}
MISTAKES = [
    ("tabs.tsv", [], "batch transform cannot read .tsv"),
    ("none", [], "batch transform cannot read files without an extension"),
    ("none", ["--format=tsv"], "--format tsv is unknown; give one of csv, jsonl"),
    ("empty.csv", [], "empty.csv is empty"),
    ("lines.csv", [], "line 2 of lines.csv has a field that continues on the next line"),
    ("long.txt", [], "line 2 of long.txt is longer than 1 MB; raise --max-payload"),
    ("missing.csv", [], "missing.csv"),
    ("folder", [], "folder"),
    ("new.csv", ["--output=folder"], "--output folder is not in S3"),
    ("new.csv", ["--max-payload=101"], "--max-payload 101 is too high; the maximum is 50 MB"),
    ("new.csv", ["--instance-type=ml.c5.xlage"], "did you mean ml.c5.xlarge?"),
    ("new.csv", ["--volume-kms-key=k", "--instance-type=ml.g5.xlarge"], "whose local disk is always encrypted"),
]


@pytest.mark.parametrize(("file", "words", "sentence"), MISTAKES, ids=[f"{a} {' '.join(b)}" for a, b, _ in MISTAKES])
def test_a_mistake_is_one_sentence(transform, aws_stub, tmp_path, file, words, sentence):
    (tmp_path / "folder").mkdir()
    if file in FILES:
        (tmp_path / file).write_bytes(FILES[file])
    assert_one_sentence(transform(*words, data=tmp_path / file), launch.WRONG_USE, sentence)
    assert aws_stub.transform_jobs == {} and not any(key.startswith("transform/") for key in keys())


def test_the_default_name_fits(command, aws_stub, new, monkeypatch):
    put("m/model.tar.gz", b"")
    monkeypatch.setattr(transform_command, "source_of", _named("n" * 63, transform_command.source_of))
    assert command("transform", JOB, f"--data={new}")[0] == 0
    [name] = aws_stub.transform_jobs
    assert len(name) <= 63


def _named(name, call):
    return lambda options: (call(options)[0], name)
