"""The command line of launch.py: what it prints, what it refuses, and how fast."""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from datetime import date
from pathlib import Path

import pytest

import launch
from launcher import ROOT
from launcher.aws import commands as remote
from launcher.cli import commands
from launcher.errors import Refused
from launcher.local import engine, inside
from launcher.local import job as local
from launcher.local.archives import unpack
from launcher.plan import channels, checks, prices, request
from text_classifier.contract import sagemaker
from text_classifier.contract.errors import UserError

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name@sha256:" + "0" * 64
ROLE = "arn:aws:iam::123456789012:role/training"


@pytest.fixture(autouse=True)
def no_aws(monkeypatch):
    """Nothing of this machine's AWS settings decides a test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def reviews(tmp_path):
    file = tmp_path / "reviews.tsv"
    file.write_text("label\ttext\npositive\tgood\n")
    return file


@pytest.fixture
def plan(reviews, capsys):
    """Run `launch.py plan` without its checks; return the exit code, the request as JSON (or stdout), and stderr."""

    def run(*words, image=IMAGE, role=ROLE, data=reviews):
        arguments = [f"--image={image}", f"--role={role}", f"--data={data}", *map(str, words)]
        try:
            code = launch.main(["plan", "--skip-checks", "--json", *arguments])
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        return code, json.dumps(json.loads(out)["request"]) if code == 0 else out, err

    return run


def command(*words, environment=None):
    """Run launch.py with an interpreter that has no packages installed."""
    return subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "launch.py"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


# -- plan


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
    content = channels.read(reviews).content
    assert train["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://my-bucket/text-classification/data/{content}/"


def test_plan_has_a_channel_for_each_path(plan, reviews, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    _, out, _ = plan("--validation", reviews, "--test", reviews, "--model", tmp_path / "model")
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
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert bucket_of(plan()[1]) == "sagemaker-us-east-2-123456789012"
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    assert bucket_of(plan()[1]) == "sagemaker-ap-south-1-123456789012"
    assert bucket_of(plan("--region=us-gov-west-1")[1]) == "sagemaker-us-gov-west-1-123456789012"


def test_plan_and_help_need_no_package_and_answer_at_once(reviews):
    start = time.monotonic()
    done = command("plan", "--skip-checks", "--json", "--image", IMAGE, "--role", ROLE, "--data", reviews)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert command("--help").returncode == 0
    assert time.monotonic() - start < 4, "the two take 0.2 s on a quiet machine"


def test_without_a_command_the_list_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        launch.main([])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n    {name} " in out for name in commands.COMMANDS)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_help_of_each_command_has_examples(name, capsys):
    with pytest.raises(SystemExit) as end:
        launch.main([name, "--help"])
    assert end.value.code == 0
    assert f"examples:\n  launch.py {name}" in capsys.readouterr().out


def test_plan_says_what_is_read_written_and_paid_for(reviews, capsys):
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data={reviews}", "--bucket=b-1", "--job-name=job-1", "--spot"]
    words.append("--skip-checks")
    assert launch.main(["plan", *words]) == 0
    out = capsys.readouterr().out
    content = channels.read(reviews).content
    assert f"reads   s3://b-1/text-classification/data/{content}/: train, 1 file(s), 25 bytes" in out
    assert "writes  s3://b-1/text-classification/job-1/output/\n" in out
    assert "writes  s3://b-1/checkpoints/text-classification/job-1/\n" in out
    assert "bill    at most USD 33.79 on demand (1 x ml.g5.xlarge x 24 h x 1.408); disks and S3 come on top\n" in out
    assert "        at most USD 10.14 to USD 23.65 on spot, if it saves 30-70 %: as a rule it does, but nobody" in out
    assert (
        "        price from aws/prices.csv: us-east-1, as of 2025-06; the job is in eu-west-1, where it differs" in out
    )
    launch.main(["plan", *words, "--price=1.5", "--max-run=7200", "--instance-count=2"])
    out = capsys.readouterr().out
    assert "at most 6.00 on demand (2 x ml.g5.xlarge x 2 h x 1.5)" in out
    assert "price from --price" in out
    launch.main(["plan", *words, "--instance-type=ml.p5.48xlarge"])
    assert "bill    price unknown (1 x ml.p5.48xlarge x 24 h at most); give that of one" in capsys.readouterr().out


def test_the_bill_of_a_plan_is_data_too(reviews, capsys):
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data={reviews}", "--skip-checks", "--json", "--max-run=3600"]
    assert launch.main(["plan", *words, "--keep-alive=1800", "--instance-count=2", "--price=2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["checks"] == []
    assert plan["bill"] == {
        "trials": 1, "instances": 2, "instance_type": "ml.g5.xlarge", "hours": 1.5, "price_per_hour": 2.0,
        "price_source": "--price", "currency": None, "longest_on_demand": 6.0, "longest_on_spot": [1.8, 4.2],
    }  # fmt: skip


def test_the_price_table_can_be_read_and_says_when_it_was_true():
    with prices.TABLE.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len({row["instance_type"] for row in rows}) == len(rows) > 20
    for row in rows:
        checks.instance_type(row["instance_type"])
        assert 0.1 < float(row["usd_per_hour"]) < 25
        assert date.fromisoformat(f"{row['as_of']}-01") <= date.today()
    assert (
        prices.find(request.DEFAULT_INSTANCE_TYPE, "us-east-1", None).source
        == "aws/prices.csv: us-east-1, as of 2025-06"
    )
    assert prices.find("ml.m1.tiny", "us-east-1", None) is None


def test_help_of_train_lists_the_hyperparameters():
    text = command("train", "--help").stdout
    assert "learning_rate" in text
    assert "label_map" in text


# -- mistakes


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["epoch=2"], "unknown hyperparameter 'epoch'; did you mean epochs?"),
        (["epochs=two"], "hyperparameter epochs='two' is not an integer"),
        (["epochs=1", "epochs=2"], "hyperparameter 'epochs' is given twice; keep one of them"),
        (["epochs"], "'epochs' is neither a flag nor a hyperparameter; write hyperparameters as name=value"),
        (["--epoch", "2"], "--epoch is not a flag of this command"),
        (
            ["--instance-typ", "ml.g5.xlarge"],
            "--instance-typ is not a flag of this command; did you mean --instance-type?",
        ),
        (["--keep-alive=9", "--spot"], "--keep-alive does not go with --spot"),
        (["--keep-alive=3601"], "--keep-alive 3601 is too long; give at most 3600 seconds"),
        (["--input-mode=Pipe"], "--input-mode 'Pipe' is not supported; take File or FastFile"),
        (["--subnet=subnet-1"], "--subnet is given without --security-group; a job in your VPC needs both"),
        (["--network-isolation"], "give the model's folder with --model"),
        (["--volume-kms-key=k"], "--volume-kms-key cannot be used with ml.g5.xlarge"),
        (["--environment=A-B=1"], "--environment 'A-B' is not a name of letters, digits and _"),
        (["--tag=team"], "argument --tag: 'team' is not NAME=VALUE"),
        (["--price=cheap"], "argument --price: 'cheap' is not a price; write it as 1.41"),
        (["--config=nowhere.yaml"], "--config nowhere.yaml cannot be read (No such file or directory)"),
        (["--instance-type=g5.xlarge"], "--instance-type 'g5.xlarge' is not a SageMaker instance type"),
        (["--instance-type=ml.p2.xlarge"], "ml.p2.xlarge has K80 GPUs, which the image's CUDA 13 no longer"),
        (["--instance-type=ml.p3.2xlarge"], "families ml.g4dn, ml.g5, ml.g6, ml.p4d or ml.p5"),
        (["--instance-type=ml.p3dn.24xlarge"], "V100"),
        (["--instance-count=0"], "argument --instance-count: '0' is not a whole number of 1 or more"),
        (["--max-run=never"], "argument --max-run: 'never' is not a whole number of 1 or more"),
        (
            ["--spot", "--max-run=100", "--max-wait=99"],
            "--max-wait 99 is shorter than --max-run 100; it counts waiting",
        ),
        (["--max-wait=99"], "--max-wait is for spot instances; give --spot too, or leave it out"),
        (["--job-name=under_score"], "job name 'under_score' is not allowed"),
        (["--job-name=" + "x" * 64], "use up to 63 letters, digits and hyphens"),
        (["--base-job-name=" + "x" * 60], "use up to 63 letters, digits and hyphens"),
        (["--region=Frankfurt"], "region 'Frankfurt' is not the name of an AWS region"),
        (["--bucket=s3://my-bucket/x"], "is not the name of a bucket; give the bare name"),
        (["--validation=nowhere.tsv"], "--validation nowhere.tsv does not exist"),
        (["--model=nowhere"], "--model nowhere is not a model directory, which holds a config.json"),
    ],
)
def test_mistakes_end_in_one_sentence(plan, words, sentence):
    code, out, err = plan(*words)
    assert (code, out) == (launch.WRONG_USE, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argument", "value", "sentence"),
    [
        ("image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name", "does not say which version"),
        ("image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name:latest", "does not say which version"),
        ("image", "sagemaker-text-classification:local", "lies on this machine only; push it with `make push`"),
        ("image", "registry.example.com:443/name:tag", "no region is known; give --region, or set AWS_REGION"),
        ("role", "my-role", "--role 'my-role' is not the ARN of a role"),
        ("data", "nowhere.tsv", "--data nowhere.tsv does not exist"),
    ],
)
def test_required_arguments_are_checked(plan, argument, value, sentence):
    code, out, err = plan(**{argument: value})
    assert (code, out) == (launch.WRONG_USE, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_missing_flags_are_named():
    done = command("plan", "--image", IMAGE)
    assert done.returncode == launch.WRONG_USE
    assert done.stderr == (
        "launch.py: plan needs --data, --role; give them here or in train.yaml, see launch.py plan --help\n"
    )


def test_empty_file_and_empty_folder_are_refused(plan, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    assert f"--data {folder} holds no files" in plan(data=folder)[2]
    (folder / "empty.tsv").touch()
    assert f"--data: the file {folder / 'empty.tsv'} is empty" in plan(data=folder)[2]


# -- local mode, as far as it goes without an engine


def fake_docker(folder: Path, cases: str) -> None:
    """Put a `docker` into a folder that answers by the arms of a shell `case "$*"`."""
    folder.mkdir(exist_ok=True)
    file = folder / "docker"
    file.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) exit 0 ;;\nesac\n')
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        (None, "Docker is not installed; run docker/ensure-engine.sh"),
        ("version*) exit 1 ;;", "no Docker engine answers; start it"),
        ("image*) exit 1 ;;", "the image sagemaker-text-classification:local is not on this machine; build it"),
        ("compose*) exit 1 ;;", "Docker Compose is not installed; install the package docker-compose"),
    ],
)
def test_local_mode_says_what_is_missing(monkeypatch, capsys, tmp_path, reviews, cases, sentence):
    if cases:
        fake_docker(tmp_path / "bin", cases)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(local, "RUNS", tmp_path / "runs")
    assert launch.main(["local", "--data", str(reviews)]) == launch.WRONG_USE
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_local_mode_says_what_cannot_be_written(monkeypatch, capsys, tmp_path, reviews):
    fake_docker(tmp_path / "bin", "compose*) echo v2 ;;")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(local, "RUNS", reviews)
    assert launch.main(["local", "--data", str(reviews), "--job-name=job"]) == launch.FAILED
    assert capsys.readouterr().err == (
        f"launch.py: [Errno 20] Not a directory: '{reviews}/job'; make room there, or change the permissions\n"
    )


def test_local_mode_without_demo_data_names_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(local, "DEMO", tmp_path)
    assert launch.main(["local"]) == launch.WRONG_USE
    assert "there is no demo data yet; run `make demo-data`" in capsys.readouterr().err


def test_local_mode_without_the_sdk_names_the_command(tmp_path, reviews):
    fake_docker(tmp_path / "bin", "")
    done = command("local", "--data", reviews, environment={"PATH": str(tmp_path / "bin")})
    assert done.returncode == launch.WRONG_USE
    assert "is not installed in this Python; run `make venv`, then .venv/bin/python launch.py" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def local_job(monkeypatch, tmp_path):
    """Catch the job that `launch.py local` would run, with a demo in place."""
    for name in ("train", "validation", "model"):
        (tmp_path / "demo" / name).mkdir(parents=True)
    monkeypatch.setattr(local, "DEMO", tmp_path / "demo")
    jobs = []

    def run(job):
        jobs.append(job)
        raise local.TrainingFailed("caught")

    monkeypatch.setattr(local, "run", run)
    monkeypatch.setattr(inside, "check", lambda *arguments: None)
    return lambda *words: (launch.main(["local", *map(str, words)]), jobs.pop())[1]


def test_local_mode_takes_the_demo_when_no_data_is_given(local_job):
    job = local_job("epochs=1")
    assert {name: path.parent.name for name, path in job.channels.items()} == {
        "train": "demo",
        "validation": "demo",
        "model": "demo",
    }
    assert job.hyperparameters == {
        "epochs": "1",
        "learning_rate": "1e-4",
        "train_batch_size": "32",
        "seed": "42",
    }


def test_own_data_starts_from_the_demo_model_unless_another_is_named(local_job, reviews, capsys):
    job = local_job("--data", reviews)
    assert set(job.channels) == {"train", "model"}
    assert job.hyperparameters == {}
    assert "Starting from the demo's model" in capsys.readouterr().out
    assert set(local_job("--data", reviews, "model_name=bert-base-uncased").channels) == {"train"}


@pytest.mark.parametrize(
    ("plugin", "has_standalone", "needs_shim"),
    [
        ("Docker Compose version v2.29.1", False, False),
        ("Docker Compose version 5.0.0", False, True),
        ("Docker Compose version 2.26.1-4", False, True),
        ("Docker Compose version 5.0.0", True, False),
        (None, True, False),
    ],
)
def test_compose_is_found_where_the_sdk_would_not_find_it(monkeypatch, tmp_path, plugin, has_standalone, needs_shim):
    answer = f"echo '{plugin}' '|' \"$@\" ;;" if plugin else "exit 1 ;;"
    fake_docker(tmp_path, f"compose*) {answer}")
    if has_standalone:
        (tmp_path / "docker-compose").write_text("#!/bin/sh\n")
        (tmp_path / "docker-compose").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with engine.compose_for_sdk() as variables:
        assert bool(variables) == needs_shim
        if needs_shim:
            done = subprocess.run(
                ["docker-compose", "-f", "a file", "up"],
                env=os.environ | variables,
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == f"{plugin} | compose -f a file up"
            shim = Path(variables["PATH"].split(os.pathsep)[0])
            assert shim.is_dir()
    assert not needs_shim or not shim.exists()


# -- the image's own commands


@pytest.fixture
def docker_log(monkeypatch, tmp_path):
    """A docker whose `run` writes its words to a file, one a line, and ends with an exit code."""

    def make(code=0, says="", cases=""):
        log = tmp_path / "docker.log"
        run = f"run*) printf '%s\\n' \"$@\" >{log}; printf '{says}' >&2; exit {code} ;;"
        fake_docker(tmp_path / "bin", f"{cases}\n{run}")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return log

    return make


def test_check_shows_the_image_the_channels_of_a_job(docker_log, reviews, tmp_path):
    log = docker_log()
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "rows.tsv").write_text("label\ttext\n")
    assert launch.main(["check", "--data", str(reviews), "--validation", str(folder), "label_map=1=a;2=b"]) == 0
    assert log.read_text().splitlines() == [
        "run",
        "--rm",
        "--network=none",
        f"--volume={reviews}:{sagemaker.BASE}/input/data/train/reviews.tsv:ro",
        f"--volume={folder}:{sagemaker.BASE}/input/data/validation:ro",
        "sagemaker-text-classification:local",
        "check",
        "--label_map",
        "1=a;2=b",
    ]


def test_predict_reads_the_model_and_writes_beside(docker_log, reviews, tmp_path):
    log = docker_log()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    words = ["--model", tmp_path / "model", "--data", reviews, "--output", tmp_path / "scores.csv", "--calibrated"]
    assert launch.main(["predict", *map(str, words)]) == 0
    lines = log.read_text().splitlines()
    assert f"--volume={tmp_path}/model:/model:ro" in lines
    assert f"--volume={tmp_path}:/output" in lines
    assert lines[lines.index("predict") :] == [
        "predict", "--model", "/model", "--data", "/data/reviews.tsv", "--output", "/output/scores.csv", "--calibrated",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "says", "ends", "sentence"),
    [
        (1, "NOTE: so\\nYour data: no rows\\n", launch.REFUSED, "NOTE: so\nlaunch.py: Your data: no rows\n"),
        (1, "", launch.REFUSED, "launch.py: the check of the data gave no reason\n"),
        (127, "", launch.WRONG_USE, "has no command check; build it anew with `make build`\n"),
    ],
)
@pytest.mark.parametrize("command", ["check", "local"])
def test_a_check_that_fails_says_so(docker_log, reviews, capsys, command, code, says, ends, sentence):
    docker_log(code, says)
    assert launch.main([command, "--data", str(reviews)]) == ends
    assert capsys.readouterr().err.endswith(sentence)


def test_local_mode_checks_the_data_unless_told_not_to(docker_log, reviews, monkeypatch, capsys):
    log = docker_log(1)
    result = local.Result({"headline": "mae", "mae": 1}, [{"text": "good", "label": "value", "score": 4.5}])
    monkeypatch.setattr(local, "run", lambda job: result)
    assert launch.main(["local", "--data", str(reviews)]) == launch.REFUSED
    log.unlink()
    assert launch.main(["local", "--data", str(reviews), "--skip-data-check"]) == launch.COMPLETED
    assert not log.exists() and "mae           1.000 (no baseline was measured)" in capsys.readouterr().out


# -- the data check of `train`

TRAIN = ["--image", IMAGE, "--role", ROLE, "--skip-checks", "--yes"]


@pytest.fixture
def sent(monkeypatch):
    """Catch what `launch.py train` would upload."""
    jobs = []

    def upload(job):
        jobs.append(job)
        raise Refused("caught")

    monkeypatch.setattr(remote, "_upload", upload)
    return jobs


def test_train_checks_the_data_before_it_uploads(docker_log, reviews, sent, capsys):
    log = docker_log(1, "Your data: it has no rows\\n")
    assert launch.main(["train", *TRAIN, "--data", str(reviews), "label_map=1=a;2=b"]) == launch.REFUSED
    assert capsys.readouterr().err == "launch.py: Your data: it has no rows\n"
    lines = log.read_text().splitlines()
    assert lines[lines.index(IMAGE) :] == [IMAGE, "check", "--label_map", "1=a;2=b"] and not sent


def test_train_takes_the_local_image_where_it_does_not_have_the_jobs(docker_log, reviews, sent, capsys):
    log = docker_log(cases=f"*inspect*{IMAGE}*) exit 1 ;;")
    assert launch.main(["train", *TRAIN, "--data", str(reviews)]) == launch.REFUSED
    assert "sagemaker-text-classification:local" in log.read_text().splitlines() and len(sent) == 1
    assert capsys.readouterr().out.startswith("Checking the data in sagemaker-text-classification:local\n")


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ("version*) exit 1 ;;", "no Docker engine answers; start it"),
        ("image*) exit 1 ;;", f"neither {IMAGE} nor sagemaker-text-classification:local is on this machine"),
        ("run*) exit 127 ;;", f"the image {IMAGE} has no command check; build it anew"),
    ],
)
def test_train_goes_on_where_it_cannot_check_and_says_so(docker_log, reviews, sent, capsys, cases, reason):
    docker_log(cases=cases)
    assert launch.main(["train", *TRAIN, "--data", str(reviews)]) == launch.REFUSED
    assert capsys.readouterr().err.startswith(f"The data is not checked before it is uploaded: {reason}")
    assert len(sent) == 1


def test_train_leaves_the_check_out(docker_log, reviews, sent):
    log = docker_log(1)
    assert launch.main(["train", *TRAIN, "--data", str(reviews), "--skip-data-check"]) == launch.REFUSED
    assert len(sent) == 1 and not log.exists()


# -- files


def test_a_file_is_staged_alone_and_under_its_name(tmp_path, reviews):
    (tmp_path / "secret.txt").write_text("not for training")
    folder = local._stage(reviews, tmp_path / "staged")
    assert [file.name for file in folder.iterdir()] == ["reviews.tsv"]
    assert (folder / "reviews.tsv").samefile(reviews)


def test_a_folder_is_staged_with_what_its_links_point_to(tmp_path, reviews):
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "rows.tsv").symlink_to(reviews)
    (source / "dangling").symlink_to(tmp_path / "nowhere")
    folder = local._stage(source, tmp_path / "staged")
    assert (folder / "inner" / "rows.tsv").read_text() == reviews.read_text()
    assert not (folder / "inner" / "rows.tsv").is_symlink()


def archive(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            content = name.encode() if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_archives_are_unpacked(tmp_path):
    file = archive(tmp_path / "a.tar.gz", ("data", tarfile.DIRTYPE), ("data/metrics.json", tarfile.REGTYPE))
    unpack(file, tmp_path / "output")
    assert (tmp_path / "output" / "data" / "metrics.json").read_text() == "data/metrics.json"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("/outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("link", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
    ],
)
def test_archives_with_members_outside_are_refused(tmp_path, name, kind):
    with pytest.raises(ValueError, match="is not a file or folder inside the archive"):
        unpack(archive(tmp_path / "a.tar.gz", (name, kind)), tmp_path / "output")
    assert not (tmp_path / "outside").exists()


@pytest.fixture
def collected(monkeypatch, tmp_path):
    """Collect a run that left these members in output.tar.gz, beside a model."""
    monkeypatch.setattr(local, "RUNS", tmp_path)
    job = local.LocalJob("job", "image", {}, {})
    job.directory.mkdir()
    archives = tmp_path / "archives"
    archives.mkdir()
    archive(archives / "model.tar.gz", ("config.json", tarfile.REGTYPE))

    def collect(*members, failure=None):
        archive(archives / "output.tar.gz", *members)
        local._collect(job, archives, failure)
        return job.directory

    return collect


def test_a_run_is_collected_packed_and_unpacked(collected):
    folder = collected(("data/metrics.json", tarfile.REGTYPE))
    assert {file.name for file in folder.iterdir()} == {"model", "model.tar.gz", "output", "output.tar.gz"}


def test_a_failure_file_means_failure_though_the_sdk_saw_success(collected, tmp_path):
    with pytest.raises(local.TrainingFailed, match="failure"):
        collected(("failure", tarfile.REGTYPE))
    assert not (tmp_path / "job" / "model.tar.gz").exists()


def test_a_failure_without_a_reason_points_to_the_log(collected):
    with pytest.raises(local.TrainingFailed, match="its last log lines say more"):
        collected(("data", tarfile.DIRTYPE), failure="RuntimeError: Compose ended with exit code 1")


def test_an_existing_run_is_not_overwritten(monkeypatch, tmp_path, reviews):
    fake_docker(tmp_path / "bin", "compose*) echo v2 ;;")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(local, "RUNS", tmp_path)
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "model.tar.gz").touch()
    with pytest.raises(UserError, match="give another --job-name"):
        local.run(local.LocalJob("job", "image", {"train": reviews}, {}))
    assert (tmp_path / "job" / "model.tar.gz").exists()
