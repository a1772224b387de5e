"""`launch.py local`, as far as it runs without a Docker engine."""

import errno
import os
import tarfile

import pytest

import launch
from launcher.local import image_commands, local_job
from support.launching import fake_docker, isolated_launch, write_archive
from text_classifier.contract.errors import UserError

pytestmark = pytest.mark.usefixtures("no_aws")


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        (None, "Docker is not installed; run docker/ensure-engine.sh"),
        ("version*) exit 1 ;;", "the Docker engine does not respond; start it"),
        ("image*) exit 1 ;;", "the image sagemaker-text-classification:local is not on this machine; build it"),
        ("compose*) exit 1 ;;", "Docker Compose is not installed; install the package docker-compose"),
    ],
)
def test_local_mode_says_what_is_missing(monkeypatch, capsys, tmp_path, reviews, cases, sentence):
    if cases:
        fake_docker(tmp_path / "bin", cases)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(local_job, "RUNS", tmp_path / "runs")
    assert launch.main(["local", "--data", str(reviews)]) == launch.WRONG_USE
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_local_mode_says_what_cannot_be_written(monkeypatch, capsys, tmp_path, reviews):
    fake_docker(tmp_path / "bin", "compose*) echo v2 ;;")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(local_job, "RUNS", reviews)
    assert launch.main(["local", "--data", str(reviews), "--job-name=job"]) == launch.FAILED
    assert capsys.readouterr().err == (f"launch.py: [Errno 20] Not a directory: '{reviews}/job'; give another path\n")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free disk space"),
        (errno.EDQUOT, "free disk space"),
        (errno.EACCES, "change the permissions"),
        (errno.EROFS, "change the permissions"),
        (errno.EISDIR, "give another path"),
        (errno.ENAMETOOLONG, "give another path"),
    ],
)
def test_the_remedy_is_that_of_the_error(monkeypatch, capsys, reviews, number, remedy):
    def fail(job):
        raise OSError(number, os.strerror(number), "file")

    monkeypatch.setattr(local_job, "run", fail)
    assert launch.main(["local", "--data", str(reviews), "--skip-data-check"]) == launch.FAILED
    assert capsys.readouterr().err == f"launch.py: [Errno {number}] {os.strerror(number)}: 'file'; {remedy}\n"


def test_local_mode_without_demo_data_names_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(local_job, "DEMO", tmp_path)
    assert launch.main(["local"]) == launch.WRONG_USE
    assert "the demo data is missing; run `make demo-data`" in capsys.readouterr().err


def test_local_mode_without_the_sdk_names_the_command(tmp_path, reviews):
    fake_docker(tmp_path / "bin", "")
    done = isolated_launch("local", "--data", reviews, environment={"PATH": str(tmp_path / "bin")})
    assert done.returncode == launch.WRONG_USE
    assert "is not installed in this Python; run `make venv` and use .venv/bin/python launch.py" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def caught_job(monkeypatch, tmp_path):
    """Catch the job that `launch.py local` would run; the demo exists."""
    for name in ("train", "validation", "model"):
        (tmp_path / "demo" / name).mkdir(parents=True)
    monkeypatch.setattr(local_job, "DEMO", tmp_path / "demo")
    jobs = []

    def run(job):
        jobs.append(job)
        raise local_job.TrainingFailed("caught")

    monkeypatch.setattr(local_job, "run", run)
    monkeypatch.setattr(image_commands, "check", lambda *arguments: None)
    return lambda *words: (launch.main(["local", *map(str, words)]), jobs.pop())[1]


def test_local_mode_takes_the_demo_when_no_data_is_given(caught_job):
    job = caught_job("epochs=1")
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


def test_own_data_starts_from_the_demo_model_unless_another_is_named(caught_job, reviews, capsys):
    job = caught_job("--data", reviews)
    assert set(job.channels) == {"train", "model"}
    assert job.hyperparameters == {}
    assert "Starting from the demo's model" in capsys.readouterr().out
    assert set(caught_job("--data", reviews, "model_name=bert-base-uncased").channels) == {"train"}


def test_local_mode_starts_from_the_archive_of_a_job(caught_job, reviews, tmp_path):
    archive = write_archive(tmp_path / "model.tar.gz", ("config.json", tarfile.REGTYPE))
    job = caught_job("--data", reviews, "--model", archive)
    folder = local_job._stage(job.channels["model"], tmp_path / "staged")
    assert [file.name for file in folder.iterdir()] == ["model.tar.gz"]


def test_a_file_is_staged_alone_and_under_its_name(tmp_path, reviews):
    (tmp_path / "secret.txt").write_text("not for training")
    folder = local_job._stage(reviews, tmp_path / "staged")
    assert [file.name for file in folder.iterdir()] == ["reviews.tsv"]
    assert (folder / "reviews.tsv").samefile(reviews)


def test_a_folder_is_staged_with_what_its_links_point_to(tmp_path, reviews):
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "rows.tsv").symlink_to(reviews)
    folder = local_job._stage(source, tmp_path / "staged")
    assert (folder / "inner" / "rows.tsv").read_text() == reviews.read_text()
    assert not (folder / "inner" / "rows.tsv").is_symlink()


@pytest.fixture
def collected(monkeypatch, tmp_path):
    """Collect a run whose output.tar.gz has these members, besides a model."""
    monkeypatch.setattr(local_job, "RUNS", tmp_path)
    job = local_job.LocalJob("job", "image", {}, {})
    job.directory.mkdir()
    archives = tmp_path / "archives"
    archives.mkdir()
    write_archive(archives / "model.tar.gz", ("config.json", tarfile.REGTYPE))

    def collect(*members, failure=None):
        write_archive(archives / "output.tar.gz", *members)
        local_job._collect(job, archives, failure)
        return job.directory

    return collect


def test_a_run_is_collected_packed_and_unpacked(collected):
    folder = collected(("data/metrics.json", tarfile.REGTYPE))
    assert {file.name for file in folder.iterdir()} == {"model", "model.tar.gz", "output", "output.tar.gz"}


def test_a_link_in_the_results_is_one_sentence(collected):
    with pytest.raises(
        local_job.TrainingFailed, match="cannot be unpacked: 'x' in output.tar.gz is not a file or fold"
    ):
        collected(("x", tarfile.SYMTYPE))


def test_a_failure_file_means_failure_though_the_sdk_saw_success(collected, tmp_path):
    with pytest.raises(local_job.TrainingFailed, match="failure"):
        collected(("failure", tarfile.REGTYPE))
    assert not (tmp_path / "job" / "model.tar.gz").exists()


def test_a_failure_without_a_reason_points_to_the_log(collected):
    with pytest.raises(local_job.TrainingFailed, match="see the last log lines"):
        collected(("data", tarfile.DIRTYPE), failure="RuntimeError: Compose ended with exit code 1")


def test_an_existing_run_is_not_overwritten(monkeypatch, tmp_path, reviews):
    fake_docker(tmp_path / "bin", "compose*) echo v2 ;;")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(local_job, "RUNS", tmp_path)
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "model.tar.gz").touch()
    with pytest.raises(UserError, match="give another --job-name"):
        local_job.run(local_job.LocalJob("job", "image", {"train": reviews}, {}))
    assert (tmp_path / "job" / "model.tar.gz").exists()
