"""train.yaml: its content, what overrides it, and mistakes in it."""

import json
import re

import pytest

import launch
from launcher import ROOT
from launcher.cli import config
from launcher.cli.options import OPTIONS

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name@sha256:" + "0" * 64

FULL = f"""\
data: rows/reviews.tsv
image: {IMAGE}
role: arn:aws:iam::${{ACCOUNT}}:role/training
bucket: my-bucket
job_name: reviews-1
max_run: 3600
spot: true
subnet: [subnet-1, subnet-2]
security_group: sg-1
tag: {{team: reviews, year: 2026}}
environment: {{HF_HOME: "/tmp/${{ACCOUNT}}"}}
hyperparameters:
  epochs: 2
  learning_rate: 3e-5
  label_map: "1,2=bad;4,5=good"
"""


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Run `launch.py plan` with this train.yaml; returns the exit code, the request as JSON, and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCOUNT", "123456789012")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "reviews.tsv").write_text("label\ttext\npositive\tgood\n")

    def run(content, *words, file="train.yaml"):
        (tmp_path / file).write_text(content)
        code = launch.main(["plan", "--skip-checks", "--json", *words])
        out, err = capsys.readouterr()
        return code, json.dumps(json.loads(out)["request"]) if code == 0 else out, err

    return run


def test_all_of_a_job_can_stand_in_the_file(plan):
    code, out, err = plan(FULL)
    assert (code, err) == (0, "")
    request = json.loads(out)
    assert request["TrainingJobName"] == "reviews-1"
    assert request["RoleArn"] == "arn:aws:iam::123456789012:role/training"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert request["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert request["Tags"] == [{"Key": "team", "Value": "reviews"}, {"Key": "year", "Value": "2026"}]
    assert request["Environment"] == {
        "HF_HOME": "/tmp/123456789012",
        "MAX_RUN_SECONDS": "3600",
        "IMAGE_DIGEST": "sha256:" + "0" * 64,
    }
    assert request["HyperParameters"] == {"epochs": "2", "learning_rate": "3e-5", "label_map": "1,2=bad;4,5=good"}


def test_a_job_gets_facts_it_cannot_find_out(plan):
    tagged = IMAGE.replace("@sha256:" + "0" * 64, ":v1")
    request = json.loads(plan(FULL.replace("environment: ", "# "), f"--image={tagged}", "--max-run=60")[1])
    assert request["Environment"] == {"MAX_RUN_SECONDS": "60"}
    request = json.loads(plan(FULL, "--environment=MAX_RUN_SECONDS=7")[1])
    assert request["Environment"]["MAX_RUN_SECONDS"] == "7"


def test_flags_win_over_the_file(plan):
    request = json.loads(plan(FULL, "--no-spot", "--max-run=60", "--tag=team=other", "epochs=3")[1])
    assert "EnableManagedSpotTraining" not in request
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 60}
    assert request["Tags"] == [{"Key": "team", "Value": "other"}]
    assert request["HyperParameters"]["epochs"] == "3"
    assert request["HyperParameters"]["learning_rate"] == "3e-5"


def test_another_file_can_be_named_and_paths_start_from_it(plan, tmp_path):
    code, out, err = plan(FULL.replace("rows/", ""), "--config", "rows/other.yaml", file="rows/other.yaml")
    assert (code, err) == (0, "")
    assert json.loads(out)["TrainingJobName"] == "reviews-1"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("bucket:", "buket:"), "train.yaml: 'buket' is unknown; did you mean bucket?"),
        (("max_run:", "max-run:"), "train.yaml: 'max-run' is unknown; did you mean max_run?"),
        (("max_run: 3600", "max_run: soon"), "train.yaml: max_run: 'soon' is not an integer of 1 or more"),
        (
            ("max_run: 3600", "max_run: [1, 2]"),
            "train.yaml: max_run must be a single value; write it as `max_run: value`",
        ),
        (("max_run: 3600", "max_run: 3_600"), "train.yaml: max_run: '3_600' is not an integer of 1 or more"),
        (("  epochs: 2", "  epochs: 1_0"), "hyperparameter epochs='1_0' is not an integer"),
        (("  epochs: 2", "  epochs: 1:30"), "hyperparameter epochs='1:30' is not an integer"),
        (("learning_rate: 3e-5", "learning_rate: 1_0.5"), "hyperparameter learning_rate='1_0.5' is not a number"),
        (("max_run: 3600", "max_run:"), "train.yaml: max_run must be a single value"),
        (("spot: true", "spot: maybe"), "train.yaml: spot: 'maybe' is neither true nor false"),
        (("ACCOUNT}:role", "ACOUNT}:role"), "train.yaml: role uses ${ACOUNT}, which is not set; set the variable"),
        (("spot: true", "spot: true\nspot: false"), "train.yaml: 'spot' is given twice; remove one of the two"),
        (("  epochs: 2", "  epoch: 2"), "unknown hyperparameter 'epoch'; did you mean epochs?"),
        (("  epochs: 2", "  epochs: [1, 2]"), "hyperparameter epochs='[1, 2]' is not an integer"),
        (
            ("bucket: my-bucket", "bucket: my-bucket: 2"),
            "train.yaml, line 4 is not valid YAML (mapping values are not allowed",
        ),
        (("rows/reviews.tsv", "rows/none.tsv"), "--data rows/none.tsv does not exist"),
        (("{team: reviews, year: 2026}", "team"), "train.yaml: tag must be a mapping of `name: value` lines"),
        ((FULL, "- a\n"), "train.yaml has no `name: value` lines"),
        (("  epochs: 2", "  epochs: !!int two"), "hyperparameter epochs='two' is not an integer"),
        (("spot: true", "spot: !!bool maybe"), "train.yaml is not valid YAML ('maybe'); correct it"),
        (
            ("spot: true", "base_job_name: !!map x"),
            "train.yaml, line 7 is not valid YAML (expected a mapping node, but found scalar); correct it",
        ),
        (("bucket: my", "bucket: \a"), "train.yaml is not valid YAML (unacceptable character #x0007: special"),
        (
            ("  epochs: 2", "  class_weights: &a {spam: *a}"),
            "train.yaml: hyperparameters.class_weights cannot be written as JSON (Circular reference detected)",
        ),
    ],
)
def test_mistakes_in_the_file_are_one_sentence(plan, change, sentence):
    assert change[0] in FULL
    code, out, err = plan(FULL.replace(*change))
    assert (code, out) == (launch.WRONG_USE, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_dates_and_keys_are_taken_as_they_are_written(plan):
    label_map = "{2021-01-01: old, 2022-01-01: [new, 2023-13-45], yes: new, 010: old}"
    content = FULL.replace('"1,2=bad;4,5=good"', f"{label_map}\n  id_column: 0x_").replace(
        "job_name: reviews-1", "base_job_name: 2024-13-45"
    )
    code, out, err = plan(content)
    assert (code, err) == (0, "")
    request = json.loads(out)
    assert request["TrainingJobName"].startswith("2024-13-45-")
    assert request["HyperParameters"]["id_column"] == "0x_"
    assert json.loads(request["HyperParameters"]["label_map"]) == {
        "2021-01-01": "old", "2022-01-01": ["new", "2023-13-45"], "yes": "new", "010": "old",
    }  # fmt: skip


def test_what_is_missing_in_the_file_is_named(plan):
    code, _, err = plan("bucket: my-bucket\n", "--data=rows/reviews.tsv")
    assert code == launch.WRONG_USE
    assert err.startswith("launch.py: plan needs --image, --role; give them here or in train.yaml")


UNSET = "image: ${NO_SUCH_VARIABLE}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["predict", "--model=m", "--data=d", "--output=o"], "--model m"),
        (["serve", "m"], "MODEL m"),
        (["logs", "my-job"], "the AWS region is unknown"),
        (["local", "--data=none.tsv"], "--data none.tsv does not exist"),
        (["check", "--data=none.tsv"], "--data none.tsv does not exist"),
        (["plan", "--image=name:v1", "--data=none.tsv"], "plan needs --role"),
        (["plan", "--role=r", "--data=none.tsv"], "train.yaml: image uses ${NO_SUCH_VARIABLE}, which is not set"),
    ],
)
def test_a_command_parses_what_it_uses(tmp_path, monkeypatch, command, no_aws, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(UNSET)
    code, _, err = command(*words)
    assert code == launch.WRONG_USE
    assert sentence in err


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("ranges: {epochs: [1, '${NO_SUCH_VARIABLE}']}", ["plan"]),
        ("hyperparameters: {epochs: '${NO_SUCH_VARIABLE}'}", ["list"]),
        ("region: '${NO_SUCH_VARIABLE}'", ["plan", "--region=eu-west-1"]),
    ],
)
def test_other_parts_of_the_file_do_not_stop_a_command(tmp_path, monkeypatch, command, no_aws, part, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(part)
    assert "NO_SUCH_VARIABLE" not in command(*words)[2]


def test_an_unknown_key_is_refused_by_each_command_that_reads_the_file(tmp_path, monkeypatch, command, no_aws):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("buket: b\n")
    assert "train.yaml: 'buket' is unknown; did you mean bucket?" in command("logs", "my-job")[2]
    assert "buket" not in command("serve", "m")[2]
    assert "--config is not a flag of this command" in command("serve", "m", "--config=train.yaml")[2]


def test_the_examples_of_the_documentation_can_be_loaded(tmp_path, monkeypatch):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    examples = [text for page in pages for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    loaded = []
    for example in examples:
        for name in re.findall(r"\$\{(\w+)\}", example):
            monkeypatch.setenv(name, "123456789012")
        (tmp_path / "train.yaml").write_text(example)
        loaded.append(config.load(tmp_path / "train.yaml"))
    assert any(file.options(OPTIONS) and file.hyperparameters() and file.ranges() for file in loaded)
