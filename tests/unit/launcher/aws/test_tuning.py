"""`launch.py tune`, and tuning jobs in the other commands: moto for S3, our stub for SageMaker."""

import json
import signal

import pytest

import launch
from support import sagemaker_stub
from support.fake_clock import START

pytestmark = pytest.mark.usefixtures("clock")

REGION, ACCOUNT, JOB = "eu-west-1", "123456789012", "search-1"
RANGES = """\
ranges:
  learning_rate: {min: 1e-5, max: 1e-4, scaling: Logarithmic}
  train_batch_size: [16, 32]
  epochs: {min: 1, max: 3}
"""


@pytest.fixture(autouse=True)
def stub(monkeypatch, tmp_path):
    """An empty account, and a train.yaml with ranges."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(RANGES)
    (tmp_path / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")
    with sagemaker_stub.account(monkeypatch, REGION, "SAGEMAKER") as running:
        yield running


JOB_WORDS = [
    "--skip-checks",
    f"--image={ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/name@sha256:{'0' * 64}",
    f"--role=arn:aws:iam::{ACCOUNT}:role/training",
    "--data=reviews.tsv",
]


@pytest.fixture
def tune(command):
    return lambda *words, name=JOB: command("tune", "--skip-data-check", *JOB_WORDS, f"--job-name={name}", *words)


def end(stub, status="Completed", **more):
    stub.tuning_jobs[JOB] |= {"HyperParameterTuningJobStatus": status, **more}


@pytest.fixture
def searched(stub, clock):
    """A tuning job whose trials run and end after a while."""
    stub.describe_hook = lambda job: None

    def first():
        stub.trial(JOB, "InProgress", None, None, learning_rate="3e-05", train_batch_size="16")

    def more():
        stub.trials.clear()
        stub.trial(JOB, "Completed", 0.8, 360, learning_rate="3e-05", train_batch_size="16")
        stub.trial(JOB, "Stopped", None, 60, learning_rate="1e-05", train_batch_size="32")
        best = stub.trial(JOB, "Completed", 0.9, 720, learning_rate="9e-05", train_batch_size="32")
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{best}"
        summary = {"TrainingJobName": best, "TrainingJobArn": arn, "CreationTime": START}
        summary |= {"TrainingJobStatus": "Completed", "TunedHyperParameters": {}}
        end(stub, BestTrainingJob=summary)

    clock.plan = [(START + 10, first), (START + 30, more)]


BOARD = f"""\
trial                  status     objective  seconds  cost    learning_rate  train_batch_size
{JOB}-003-0123abcd  Completed  0.9        720      0.2     9e-05          32
{JOB}-001-0123abcd  Completed  0.8        360      0.1     3e-05          16
{JOB}-002-0123abcd  Stopped    -          60       0.0167  1e-05          32
"""


def test_tune_starts_a_search_follows_it_and_prints_the_leaderboard(tune, stub, searched):
    code, out, err = tune("--max-jobs=3", "--max-parallel-jobs=2", "--price=1", "seed=7")
    assert (code, err) == (0, "")
    job = stub.tuning_jobs[JOB]
    assert job["TrainingJobDefinition"]["StaticHyperParameters"]["seed"] == "7"
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}
    assert job["HyperParameterTuningJobConfig"]["ResourceLimits"] == limits
    assert f"Tuning job {JOB} started\n" in out
    assert f"--- {JOB}-001-0123abcd: InProgress (learning_rate=3e-05 train_batch_size=16)\n" in out
    assert f"--- {JOB}-001-0123abcd: Completed (learning_rate=3e-05 train_batch_size=16); f1_macro=0.8\n" in out
    assert BOARD in out
    assert "billable_seconds  1140\ncost              0.3167\n" in out
    last = f"Tuning job {JOB} completed; `launch.py download {JOB}-003-0123abcd --region {REGION}` downloads the best"
    assert out.splitlines()[-1].startswith(last)


def test_the_data_is_uploaded_as_for_train(tune, stub, searched):
    assert ": 25 of 25 bytes uploaded\n" in tune()[1]


@pytest.mark.parametrize("kind", ["throttle", "500", "503", "reset", "lost"])
def test_a_faulty_start_creates_exactly_one_tuning_job(tune, stub, searched, kind):
    stub.faults["CreateHyperParameterTuningJob"] = [kind, "reset", kind]
    stub.faults["DescribeHyperParameterTuningJob"] = ["503", "throttle"]
    stub.faults["ListTrainingJobsForHyperParameterTuningJob"] = ["reset"]
    assert tune()[0] == 0
    assert list(stub.tuning_jobs) == [JOB]


def test_a_second_submission_of_a_name_finds_the_tuning_job(tune, stub, searched):
    assert tune()[0] == 0
    code, out, _ = tune()
    assert code == 0
    assert f"Tuning job {JOB} was already started with the same request" in out
    code, _, err = tune("--max-jobs=4")
    assert (code, err.count("\n")) == (launch.REFUSED, 1)
    assert "already exists with a different HyperParameterTuningJobConfig; give another --job-name" in err
    code, _, err = tune("seed=1")
    assert "with a different TrainingJobDefinition.StaticHyperParameters" in err
    code, _, err = tune("--instance-count=2")
    assert "with a different TrainingJobDefinition.HyperParameterTuningResourceConfig" in err


@pytest.mark.parametrize("stops", [False, True])
def test_an_interrupt_leaves_the_tuning_job_or_stops_it(tune, stub, clock, stops):
    stub.describe_hook = lambda job: None
    clock.plan = [(START + 10, lambda: signal.raise_signal(signal.SIGINT))]
    code, _, err = tune(*["--stop-on-interrupt"] * stops)
    assert code == 130
    assert stub.tuning_jobs[JOB]["HyperParameterTuningJobStatus"] == ("Stopping" if stops else "InProgress")
    if stops:
        assert err == f"launch.py: stop requested for tuning job {JOB}; the job saves its state first\n"
    else:
        assert f"`launch.py attach {JOB} --region {REGION}` follows it" in err
        assert f"`launch.py stop {JOB} --region {REGION}` stops it" in err


def test_a_search_without_a_winner_has_failed(tune, command, stub, clock):
    stub.describe_hook = lambda job: None
    clock.plan = [(START + 10, lambda: end(stub, "Failed", FailureReason="All training jobs failed"))]
    code, _, err = tune()
    assert (code, err) == (
        launch.FAILED,
        f"launch.py: tuning job {JOB} ended with status Failed. All training jobs failed\n",
    )
    end(stub, "Completed")
    code, _, err = command("attach", JOB)
    assert err == f"launch.py: tuning job {JOB} ended with status Completed. All training jobs failed\n"
    del stub.tuning_jobs[JOB]["FailureReason"]
    assert "No trial reported the objective metric" in command("attach", JOB)[2]


def test_the_other_commands_understand_a_tuning_job(tune, command, stub, searched, clock):
    assert tune("--max-jobs=3")[0] == 0
    code, out, err = command("status", JOB, "--price=1")
    assert (code, err) == (0, "")
    assert BOARD in out
    data = json.loads(command("status", JOB, "--json")[1])
    assert data["trials"] == "3 of 3"
    assert data["best"] == data["leaderboard"][0]["trial"] == f"{JOB}-003-0123abcd"
    assert data["leaderboard"][0]["hyperparameters"] == {"learning_rate": "9e-05", "train_batch_size": "32"}
    assert command("list", "--base-job-name=search")[1].endswith(f"{JOB}  (tuning job)\n")
    for name in ("logs", "download"):
        code, _, err = command(name, JOB)
        assert code == launch.REFUSED
        assert f"{JOB} is a tuning job; give the name of one of its trials, see `launch.py status {JOB} --region" in err
    code, _, err = command("stop", JOB)
    assert "cannot be stopped: it is already Completed" in err
    end(stub, "InProgress")
    clock.plan = [(clock.now + 20, lambda: end(stub, "Stopped"))]
    assert command("stop", JOB)[1] == f"Stop requested for tuning job {JOB}\nTuning job {JOB} is Stopped\n"


def test_a_terminal_shows_the_maximum_cost_of_all_trials(tune, stub, monkeypatch):
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    code, out, _ = tune("--max-jobs=20", "--price=1", "--max-run=3600", "--spot")
    assert code == launch.REFUSED
    assert stub.tuning_jobs == {}
    assert "trials  20, 1 at a time (Bayesian): learning_rate, train_batch_size, epochs for the best f1_macro\n" in out
    assert f"writes  s3://sagemaker-{REGION}-{ACCOUNT}/text-classification/{JOB}-*/output/\n" in out
    assert "at most 20.00 on demand (20 trials x 1 x ml.g5.xlarge x 1 h x 1)" in out


def test_plan_has_the_request_of_tune(command, stub):
    code, out, _ = command("plan", "--tune", "--json", *JOB_WORDS, "seed=2")
    assert code == 0
    assert "epochs has a value here and a range" in command("plan", "--tune", *JOB_WORDS, "epochs=2")[2]
    plan = json.loads(out)
    name = plan["request"]["HyperParameterTuningJobName"]
    assert name.startswith("text-classificatio-") and len(name) == 32
    config = plan["request"]["HyperParameterTuningJobConfig"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "f1_macro"}
    assert plan["bill"]["trials"] == 10
    ranges = config["ParameterRanges"]
    assert ranges["ContinuousParameterRanges"][0]["MinValue"] == "1e-05"
    assert ranges["CategoricalParameterRanges"] == [{"Name": "train_batch_size", "Values": ["16", "32"]}]
    assert ranges["IntegerParameterRanges"][0]["MaxValue"] == "3"
    assert stub.calls == []


def test_train_takes_no_notice_of_the_ranges(command):
    code, out, _ = command("plan", "--json", *JOB_WORDS, "learning_rate=1e-3")
    assert code == 0
    assert json.loads(out)["request"]["HyperParameters"] == {"learning_rate": "1e-3"}


def test_the_objective_is_the_metric_that_chooses_the_epoch(command):
    def objective(*words):
        plan = json.loads(command("plan", "--tune", "--json", *JOB_WORDS, *words)[1])
        return plan["request"]["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]

    assert objective("metric_for_best_model=accuracy") == {"Type": "Maximize", "MetricName": "accuracy"}
    assert objective("--objective=validation_loss") == {"Type": "Minimize", "MetricName": "validation_loss"}


def test_a_grid_has_as_many_trials_as_combinations(command, tmp_path):
    (tmp_path / "train.yaml").write_text("ranges: {train_batch_size: [16, 32], precision: [fp32, bf16, fp16]}\n")
    plan = json.loads(command("plan", "--tune", "--strategy=Grid", "--json", *JOB_WORDS)[1])
    limits = plan["request"]["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits["MaxNumberOfTrainingJobs"] == 6


@pytest.mark.parametrize(
    ("ranges", "words", "sentence"),
    [
        ("", [], "there is nothing to search; add `ranges` to train.yaml"),
        ("ranges: 3", [], "train.yaml: ranges must be a mapping of `name: range` lines"),
        ("ranges: {epochs: 3}", [], "train.yaml: ranges.epochs must be a mapping of `name: value` lines"),
        (
            "ranges: {epoch: [1, 2]}",
            [],
            "ranges: 'epoch' is not a hyperparameter that can be searched; did you mean epochs?",
        ),
        (
            "ranges: {checkpoint_dir: [a, b]}",
            [],
            "ranges: 'checkpoint_dir' is not a hyperparameter that can be searched",
        ),
        ("ranges: {epochs: [1]}", [], "ranges: epochs: give at least two different values"),
        ("ranges: {epochs: [1, 01]}", [], "ranges: epochs: give at least two different values"),
        ("ranges: {epochs: [1, x]}", [], "hyperparameter epochs='x' is not an integer"),
        ("ranges: {epochs: {min: 0, max: 3}}", [], "hyperparameter epochs=0 is out of range"),
        ("ranges: {epochs: {min: 3, max: 2}}", [], "ranges: epochs: min 3 is not less than max 2; swap them"),
        ("ranges: {epochs: {min: 3, top: 2}}", [], "ranges: epochs: write {min: 1, max: 2}"),
        ("ranges: {precision: {min: 3, max: 2}}", [], "ranges: precision is not a number; give a list of values"),
        (
            "ranges: {epochs: {min: 1, max: 2, scaling: log}}",
            [],
            "ranges: epochs: scaling 'log' is unknown; use Auto",
        ),
        (
            "ranges: {weight_decay: {min: 0, max: 2, scaling: Logarithmic}}",
            [],
            "Logarithmic scaling needs a min above 0",
        ),
        ("ranges: {weight_decay: {min: 0, max: 2, scaling: ReverseLogarithmic}}", [], "needs 0 <= min < max < 1"),
        (RANGES, ["epochs=2"], "epochs has a value here and a range in the configuration file; remove one"),
        (
            "ranges: {eval_batch_size: [32, 64]}",
            ["valid_batch_size=7"],
            "eval_batch_size has a value here and a range in the configuration file; remove one",
        ),
        (
            "ranges: {eval_batch_size: [32, 64], valid_batch_size: [32, 64]}",
            [],
            "hyperparameter 'valid_batch_size' is an alias of 'eval_batch_size'",
        ),
        (
            RANGES,
            ["--objective=f1"],
            "--objective 'f1' is not a metric of task=single_label; valid names are train_loss",
        ),
        (RANGES, ["--strategy=Hyperband"], "--strategy 'Hyperband' is not supported; use Bayesian, Random, Grid"),
        (RANGES, ["--strategy=Grid"], "ranges: learning_rate: --strategy Grid needs a list of values"),
        (
            "ranges: {epochs: [1, 2]}",
            ["--strategy=Grid", "--max-jobs=3"],
            "--strategy Grid makes 2 trials, one per combination",
        ),
        (RANGES, ["--max-parallel-jobs=11"], "--max-parallel-jobs 11 is more than the 10 trials; lower it"),
        (
            RANGES,
            ["--keep-alive=60"],
            "--keep-alive cannot be set for tuning, where SageMaker reuses instances by itself",
        ),
        (
            RANGES,
            ["checkpoint_dir=/tmp/x"],
            "checkpoint_dir cannot be set for tuning, where each trial has its own folder",
        ),
        (
            "ranges: {truncation: [head, tail], learning_rate: {min: 1e-5, max: 1e-4}}",
            ["text_columns=premise", "text_pair_columns=hypothesis"],
            "ranges: a trial with truncation='tail' would fail: truncation=tail applies to single texts; remove it",
        ),
        (
            "ranges: {epochs: [1, 2], long_texts: [truncate, mean], truncation: [head, tail]}",
            [],
            "ranges: a trial with long_texts='mean', truncation='tail' would fail: long_texts=mean reads whole single",
        ),
        (
            "ranges: {cross_validation: {min: 0, max: 5}}",
            [],
            "ranges: a trial with cross_validation='1' would fail: cross_validation=1 leaves no rows to train on",
        ),
        (
            "ranges: {label_smoothing: {min: 0, max: 0.2}, epochs: {min: 1, max: 5}, focal_gamma: {min: 0, max: 2}}",
            [],
            "ranges: a trial with label_smoothing='0.2', focal_gamma='1' would fail: label_smoothing and focal_gamma",
        ),
        (RANGES, [f"--job-name={'a' * 33}"], "is too long for a tuning job; use at most 32 characters"),
    ],
)
def test_mistakes_are_one_sentence(command, tmp_path, ranges, words, sentence):
    (tmp_path / "train.yaml").write_text(ranges or "max_run: 60")
    code, out, err = command("tune", *JOB_WORDS, *words)
    assert (code, out, err.count("\n")) == (launch.WRONG_USE, "", 1), err
    assert sentence in err
