"""`launch.py check` and `predict`, and the data check of `local` and `train`, with a fake docker."""

import pytest

import launch
from launcher.aws import commands
from launcher.errors import Refused
from launcher.local import local_job
from support.launching import IMAGE, ROLE
from text_classifier.contract import parsing, sagemaker

pytestmark = pytest.mark.usefixtures("no_aws")


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
        f"--mount=type=bind,source={reviews},target={sagemaker.BASE}/input/data/train/reviews.tsv,readonly",
        f"--mount=type=bind,source={folder},target={sagemaker.BASE}/input/data/validation,readonly",
        "sagemaker-text-classification:local",
        "check",
        "--label_map=1=a;2=b",
    ]


def test_the_image_reads_a_value_that_begins_with_a_hyphen(docker_log, reviews):
    log = docker_log()
    assert launch.main(["check", "--data", str(reviews), "label_map=-1=negative;0=neutral;1=positive"]) == 0
    *_, command, word = log.read_text().splitlines()
    assert command == "check"
    assert parsing.from_arguments([word]).label_map == "-1=negative;0=neutral;1=positive"


def test_predict_reads_the_model_and_writes_beside(docker_log, reviews, tmp_path):
    log = docker_log()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    words = ["--model", tmp_path / "model", "--data", reviews, "--output", tmp_path / "scores.csv"]
    words += ["--calibrated", "--fitted-thresholds"]
    assert launch.main(["predict", *map(str, words)]) == 0
    lines = log.read_text().splitlines()
    assert f"--mount=type=bind,source={tmp_path}/model,target=/model,readonly" in lines
    assert f"--mount=type=bind,source={tmp_path},target=/output" in lines
    assert lines[lines.index("predict") :] == [
        "predict", "--model", "/model", "--data", "/data/reviews.tsv", "--output", "/output/scores.csv", "--calibrated",
        "--fitted-thresholds",
    ]  # fmt: skip


def test_predict_refuses_a_folder_as_output(docker_log, reviews, tmp_path, capsys):
    log = docker_log()
    (tmp_path / "config.json").write_text("{}")
    words = ["--model", tmp_path, "--data", reviews, "--output", tmp_path]
    assert launch.main(["predict", *map(str, words)]) == launch.WRONG_USE
    assert capsys.readouterr().err == f"launch.py: --output {tmp_path} is a folder; give a file\n"
    assert not log.exists()


@pytest.mark.parametrize(
    ("code", "says", "ends", "sentence"),
    [
        (1, "NOTE: so\\nYour data: no rows\\n", launch.REFUSED, "NOTE: so\nlaunch.py: Your data: no rows\n"),
        (1, "", launch.REFUSED, "launch.py: the data check failed without a message\n"),
        (127, "", launch.WRONG_USE, "has no command check; rebuild it with `make build`\n"),
    ],
)
@pytest.mark.parametrize("command", ["check", "local"])
def test_a_check_that_fails_says_so(docker_log, reviews, capsys, command, code, says, ends, sentence):
    docker_log(code, says)
    assert launch.main([command, "--data", str(reviews)]) == ends
    assert capsys.readouterr().err.endswith(sentence)


ROW = {"text": "Good", "label": "positive", "predicted": "negative", "probability": None}


def test_local_mode_shows_validation_rows_with_the_right_answer(docker_log, reviews, monkeypatch, capsys):
    docker_log()
    rows = [ROW | {"text": "two\nlines \x1b[31m" + 60 * "x", "probability": 0.98765}, ROW | {"label": "a;b"}]
    result = local_job.Result({"headline": "f1_macro", "f1_macro": 0.5}, rows)
    monkeypatch.setattr(local_job, "run", lambda job: result)
    assert launch.main(["local", "--data", str(reviews)]) == launch.COMPLETED
    text = "two\\nlines \\x1b[31m"
    assert capsys.readouterr().out.split("\n\n")[1].splitlines() == [
        f"{'validation row':60}  label     predicted",
        f"{text}{'x' * (57 - len(text))}...  positive  negative 0.988",
        f"{'Good':60}  a;b       negative",
    ]


def test_local_mode_checks_the_data_unless_skipped(docker_log, reviews, monkeypatch, capsys):
    log = docker_log(1)
    result = local_job.Result({"headline": "mae", "mae": 1}, [ROW | {"label": "4", "predicted": "4.5"}])
    monkeypatch.setattr(local_job, "run", lambda job: result)
    assert launch.main(["local", "--data", str(reviews)]) == launch.REFUSED
    log.unlink()
    assert launch.main(["local", "--data", str(reviews), "--skip-data-check"]) == launch.COMPLETED
    assert not log.exists() and "mae           1.000 (no baselines)" in capsys.readouterr().out


def test_local_mode_shows_a_job_that_was_stopped_before_an_evaluation(docker_log, reviews, monkeypatch, capsys):
    docker_log()
    result = local_job.Result({"headline": "accuracy", "best_epoch": 0, "epochs": []}, [ROW])
    monkeypatch.setattr(local_job, "run", lambda job: result)
    assert launch.main(["local", "--data", str(reviews)]) == launch.COMPLETED
    out = capsys.readouterr().out
    assert "\naccuracy      not evaluated: the job was stopped before its first evaluation\nmodel.tar.gz  " in out


TRAIN = ["--image", IMAGE, "--role", ROLE, "--skip-checks", "--yes"]


@pytest.fixture
def sent(monkeypatch):
    """Catch what `launch.py train` would upload."""
    jobs = []

    def upload(job):
        jobs.append(job)
        raise Refused("caught")

    monkeypatch.setattr(commands, "_upload", upload)
    return jobs


def test_train_checks_the_data_before_it_uploads(docker_log, reviews, sent, capsys):
    log = docker_log(1, "Your data: it has no rows\\n")
    assert launch.main(["train", *TRAIN, "--data", str(reviews), "label_map=1=a;2=b"]) == launch.REFUSED
    assert capsys.readouterr().err == "launch.py: Your data: it has no rows\n"
    lines = log.read_text().splitlines()
    assert lines[lines.index(IMAGE) :] == [IMAGE, "check", "--label_map=1=a;2=b"] and not sent


def test_train_takes_the_local_image_where_it_does_not_have_the_jobs(docker_log, reviews, sent, capsys):
    log = docker_log(cases=f"*inspect*{IMAGE}*) exit 1 ;;")
    assert launch.main(["train", *TRAIN, "--data", str(reviews)]) == launch.REFUSED
    assert "sagemaker-text-classification:local" in log.read_text().splitlines() and len(sent) == 1
    assert capsys.readouterr().out.startswith("Checking the data in sagemaker-text-classification:local\n")


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ("version*) exit 1 ;;", "the Docker engine does not respond; start it"),
        ("image*) exit 1 ;;", f"neither {IMAGE} nor sagemaker-text-classification:local is on this machine"),
        ("run*) exit 127 ;;", f"the image {IMAGE} has no command check; rebuild it"),
    ],
)
def test_train_continues_with_a_warning_where_it_cannot_check(docker_log, reviews, sent, capsys, cases, reason):
    docker_log(cases=cases)
    assert launch.main(["train", *TRAIN, "--data", str(reviews)]) == launch.REFUSED
    assert capsys.readouterr().err.startswith(f"WARNING: the job starts without a check of the data: {reason}")
    assert len(sent) == 1


def test_train_leaves_the_check_out(docker_log, reviews, sent):
    log = docker_log(1)
    assert launch.main(["train", *TRAIN, "--data", str(reviews), "--skip-data-check"]) == launch.REFUSED
    assert len(sent) == 1 and not log.exists()
