"""launch.py compare: what it finds, reads and says of two runs."""

import json
import math

import pytest

import launch
from launcher.local import comparison
from support.launching import assert_one_sentence

pytestmark = pytest.mark.usefixtures("no_aws")


def metrics_of(accuracy, low, high, **more):
    """metrics.json of a run."""
    part = {"rows": 100, "accuracy": accuracy, "log_loss": 0.5, "intervals": {"accuracy": [low, high]}}
    return {
        "schema_version": 1, "rows": {"train": 400, "validation": 100}, "epochs": [{}], "best_epoch": 1, "steps": 9,
        "classes": ["no", "yes"], "validation": part, **more,
    }  # fmt: skip


def manifest_of(name, **hyperparameters):
    """training_manifest.json of a run."""
    files = {"train/a.csv": {"bytes": 1, "sha256": "00"}}
    return {
        "schema_version": 1,
        "training_job": name,
        "files": files,
        "hyperparameters": {"seed": 42} | hyperparameters,
    }


@pytest.fixture
def write(tmp_path):
    """Write a run as `download` leaves it."""

    def write(name, metrics, manifest=None):
        folder = tmp_path / name
        (folder / "output" / "data").mkdir(parents=True)
        (folder / "output" / "data" / "metrics.json").write_text(json.dumps(metrics))
        if manifest:
            (folder / "model").mkdir()
            (folder / "model" / "training_manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


def compared(*folders):
    """The tables of two runs by title."""
    runs = [comparison.load(comparison.find(str(folder))) for folder in folders]
    return {table.title: table for table in comparison.tables(*runs)}


def test_settings_that_differ_and_metrics_with_intervals(write):
    first = write("a", metrics_of(0.8, 0.75, 0.85), manifest_of("job-a", epochs=2, precision="fp32"))
    second = write("b", metrics_of(0.9, 0.87, 0.93), manifest_of("job-b", epochs=3, precision="fp32", new=True))
    found = compared(first, second)
    assert found["Settings that differ"].rows == [("epochs", "2", "3"), ("new", "(unknown)", "true")]
    table = found["Metrics on the validation rows"]
    assert table.header == ("metric", "job-a", "job-b", "difference", "better")
    assert table.rows == [
        ("accuracy", "0.8000 (0.7500 to 0.8500)", "0.9000 (0.8700 to 0.9300)", "+0.1000", "job-b"),
        ("log_loss", "0.5000", "0.5000", "+0.0000", ""),
    ]
    assert table.apart == {0} and found["Runs"].note == ""


def test_less_is_better_for_losses_and_overlapping_intervals_are_not_marked(write):
    other = metrics_of(0.81, 0.76, 0.86)
    other["validation"]["log_loss"] = 0.4
    table = compared(write("a", metrics_of(0.8, 0.75, 0.85)), write("b", other))["Metrics on the validation rows"]
    assert [row[-1] for row in table.rows] == ["b", "b"] and not table.apart


def test_other_rows_and_other_classes_are_cautioned_of(write):
    first = write("a", metrics_of(0.8, 0.75, 0.85), manifest_of("a"))
    assert (
        "different rows"
        in compared(first, write("b", metrics_of(0.8, 0.7, 0.9), manifest_of("b", seed=1)))["Runs"].note
    )
    rows = metrics_of(0.8, 0.7, 0.9, rows={"validation": 7})
    assert "different rows" in compared(first, write("c", rows, manifest_of("c")))["Runs"].note
    classes = metrics_of(0.8, 0.7, 0.9, classes=["yes", "no"])
    found = compared(first, write("d", classes, manifest_of("d")))
    assert "different tasks or classes" in found["Runs"].note
    table = found["Metrics on the validation rows"]
    assert table.header == ("metric", "a", "d") and not table.note and not table.apart
    assert table.rows[1] == ("log_loss", "0.5000", "0.5000")
    grouped = write("g", metrics_of(0.8, 0.75, 0.85), manifest_of("g", group_column="user"))
    assert "different rows" in compared(first, grouped)["Runs"].note


def test_without_manifest_and_without_evaluation_the_rest_is_compared(write):
    stopped = {"schema_version": 1, "rows": {"validation": 9}, "epochs": [], "classes": ["no", "yes"], "accuracy": 0.5}
    found = compared(write("a", stopped), write("b", metrics_of(0.8, 0.7, 0.9) | {"accuracy": None}))
    assert found["Settings that differ"].note == "Not known: there is no training_manifest.json of a and b."
    assert found["Metrics of the best epoch"].rows == [("accuracy", "0.5000", "undefined", "", "")]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"rows": 5}, "rows"),
        ({"rows": {"train": "x"}}, "rows.train"),
        ({"validation": [1]}, "validation"),
        ({"validation": {"accuracy": "x"}}, "validation.accuracy"),
        ({"validation": {"accuracy": 10**400}}, "validation.accuracy"),
        ({"validation": {"accuracy": 0.5, "intervals": None}}, "validation.intervals"),
        ({"validation": {"accuracy": 0.5, "intervals": {"accuracy": ["a", "b"]}}}, "validation.intervals.accuracy[0]"),
        ({"throughput": {"rows_per_second": "x"}}, "throughput.rows_per_second"),
    ],
)
def test_metrics_of_another_type_are_one_sentence(command, write, changes, wrong):
    other = write("b", metrics_of(0.8, 0.75, 0.85) | changes)
    result = command("compare", write("a", metrics_of(0.8, 0.75, 0.85)), other)
    assert_one_sentence(result, launch.WRONG_USE, f"(it has another type of value in {wrong}); give another")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"training_job": 5}, "training_job"),
        ({"hyperparameters": [1]}, "hyperparameters"),
        ({"files": {"train/a.csv": 5}}, "files.train/a.csv"),
        ({"files": {"train/a.csv": {"sha256": 5}}}, "files.train/a.csv.sha256"),
        ({"run": "x"}, "run"),
        ({"base_model": ["x"]}, "base_model"),
    ],
)
def test_a_manifest_of_another_type_is_one_sentence(command, write, changes, wrong):
    other = write("b", metrics_of(0.8, 0.75, 0.85), manifest_of("b") | changes)
    result = command("compare", write("a", metrics_of(0.8, 0.75, 0.85), manifest_of("a")), other)
    assert_one_sentence(result, launch.WRONG_USE, f"(it has another type of value in {wrong}); give another")


def test_values_that_are_no_numbers_are_undefined_and_decide_nothing(write):
    other = metrics_of(math.nan, math.nan, 1.0)
    other["validation"]["log_loss"], other["validation"]["intervals"]["log_loss"] = math.inf, [0.5]
    unhashed = manifest_of("b") | {"files": {"train/a.csv": {}}}
    found = compared(write("a", metrics_of(0.8, 0.75, 0.85), manifest_of("a")), write("b", other, unhashed))
    assert found["Metrics on the validation rows"].rows == [
        ("accuracy", "0.8000 (0.7500 to 0.8500)", "undefined", "", ""),
        ("log_loss", "0.5000", "undefined", "", ""),
    ]


def test_what_cannot_be_compared_is_one_sentence(command, write, tmp_path):
    good = write("a", metrics_of(0.8, 0.75, 0.85))
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.json").write_text('{"schema_version": 1}')
    for other, words in (
        (tmp_path / "empty", "has no metrics.json; give"), (tmp_path / "none" / "x", "does not exist; give"),
        (tmp_path / "odd.json", "it has no rows"), (write("v9", {"schema_version": 9}), "schema_version 9"),
    ):  # fmt: skip
        assert_one_sentence(command("compare", good, other), launch.WRONG_USE, words)
