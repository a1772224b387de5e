"""SageMaker local mode, end to end, on one and on two containers."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import launch
from launcher.local import engine
from local_mode.runs import Run, docker

AMAZON_COLUMNS = (
    "marketplace",
    "customer_id",
    "review_id",
    "product_id",
    "product_parent",
    "product_title",
    "product_category",
    "star_rating",
    "helpful_votes",
    "total_votes",
    "vine",
    "verified_purchase",
    "review_headline",
    "review_body",
    "review_date",
)

WORDS = {1: "awful", 2: "poor", 3: "dull", 4: "fine", 5: "superb"}


def amazon_reviews(file: Path, count: int) -> Path:
    """Write a file in Amazon's format: 15 tab-separated columns, quotation marks without meaning."""
    rows = [list(AMAZON_COLUMNS)]
    for number in range(count):
        stars = number % 5 + 1
        rows.append(
            f'US\t{number}\tR{number}\tB00{number}\t{number}\tA "book\tBooks\t{stars}\t0\t{number % 7}\tN\tY\t'
            f'{WORDS[stars].title()}, "really\tThis {WORDS[stars]} book has {number} pages.\t2015-08-31'.split("\t")
        )
    file.write_text("".join("\t".join(row) + "\n" for row in rows))
    return file


@pytest.fixture
def bystander() -> Iterator[str]:
    """A container that launch.py must not remove."""
    [container] = docker("run", "--detach", "--rm", engine.LOCAL_IMAGE, "sleep", "300")
    yield container
    docker("rm", "--force", container)


def test_demo_learns_and_leaves_everything_in_its_folder(run: Callable[..., Run]) -> None:
    demo = run()
    assert demo.metrics["accuracy"] >= 0.85
    assert demo.metrics["baselines"][0]["accuracy"] < 0.65
    assert {path.name for path in demo.folder.iterdir()} == {"model", "model.tar.gz", "output", "output.tar.gz"}
    for name in ("model", "output"):
        unpacked = sorted(str(path.relative_to(demo.folder / name)) for path in (demo.folder / name).rglob("*"))
        assert unpacked == demo.archive(f"{name}.tar.gz")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(demo.archive("model.tar.gz"))

    assert f"accuracy      {demo.metrics['accuracy']:.3f}" in demo.text
    assert f"build/local/{demo.name}/model.tar.gz" in demo.text
    report = f"build/local/{demo.name}/output/data/report.html"
    assert f"report        {report}\n" in demo.text
    assert (demo.folder / "output" / "data" / "report.html").read_text().startswith("<!DOCTYPE html>")
    words = demo.metrics["baselines"][1]
    assert demo.metrics["validation"]["accuracy"] > words["accuracy"] > demo.metrics["baselines"][0]["accuracy"]
    assert re.search(r"wrote \S+ in [\d.]+ s \(.*, report\)", demo.text), demo.text
    assert _shown_answers(demo) == _answers_of_the_job(demo)
    assert re.search(r"^wall time .*train [\d.]+ s, unpack [\d.]+ s, classify [\d.]+ s$", demo.text, re.MULTILINE)


def _shown_answers(run: Run) -> list[tuple[str, str, str]]:
    """The label, the prediction and its probability to two digits in the closing table, which has five rows."""
    table = run.text.partition("\nvalidation row ")[2].partition("\n\n")[0].splitlines()[1:]
    found = [re.search(r"  (\w+) +(\w+) (\d\.\d\d)\d$", line) for line in table]
    assert len(found) == 5 and all(found), table
    return [match.groups() for match in found if match]  # type: ignore[misc]


def _answers_of_the_job(run: Run) -> list[tuple[str, str, str]]:
    """The same of the rows at five equal steps in the job's own predictions."""
    with (run.folder / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [rows[(len(rows) - 1) * step // 4] for step in range(5)]
    probability = [format(float(row[f"probability_{row['predicted']}"]), ".3f")[:-1] for row in chosen]
    return [(row["label"], row["predicted"], number) for row, number in zip(chosen, probability, strict=True)]


def test_amazon_file_trains_as_it_is_and_the_same_twice(run: Callable[..., Run], tmp_path: Path) -> None:
    data = amazon_reviews(tmp_path / "my reviews.tsv", 120)
    arguments = ("--data", data, "epochs=1", "label_map=1,2,3=negative;4,5=positive")
    first, second = run(*arguments), run(*arguments)
    config = (first.folder / "model" / "config.json").read_text()
    assert '"negative"' in config
    assert '"positive"' in config
    conditions = [re.findall("classes: .*", one.text) for one in (first, second)]
    assert conditions[0] == conditions[1]
    assert first.metrics["epochs"] == second.metrics["epochs"]
    weights = [(one.folder / "model" / "model.safetensors").read_bytes() for one in (first, second)]
    assert hashlib.sha256(weights[0]).digest() == hashlib.sha256(weights[1]).digest()


def test_two_containers_train_one_model_on_disjoint_rows(run: Callable[..., Run], tmp_path: Path) -> None:
    data = amazon_reviews(tmp_path / "reviews.tsv", 110)
    both = run("--data", data, "--instance-count=2", "epochs=1", "train_batch_size=8")
    shares = {
        int(rank): (int(own), int(all_rows))
        for rank, own, all_rows in re.findall(r"rank (\d) of 2 trained on (\d+) of (\d+) rows", both.text)
    }
    assert set(shares) == {0, 1}
    assert shares[0][0] + shares[1][0] == shares[0][1] == shares[1][1]
    assert abs(shares[0][0] - shares[1][0]) <= 8
    assert both.archive("model.tar.gz").count("model.safetensors") == 1
    assert both.text.count("epoch=1;") == 1


@pytest.mark.parametrize("instance_count", [1, 2])
def test_a_broken_file_is_reported_as_failure(run: Callable[..., Run], tmp_path: Path, instance_count: int) -> None:
    data = tmp_path / "reviews.tsv"
    data.write_text("stars\tcomment\n5\tgood\n1\tbad\n")
    failed = run("--data", data, "--skip-data-check", f"--instance-count={instance_count}", exit_code=launch.FAILED)
    reason = (failed.folder / "output" / "failure").read_text().splitlines()[0]
    assert reason.startswith("Your data: ")
    assert "reviews.tsv" in reason
    assert f"launch.py: the job failed. {reason}" in failed.text
    assert {path.name for path in failed.folder.iterdir()} == {"output", "output.tar.gz"}


def test_ctrl_c_leaves_nothing_and_touches_nobody_else(
    started: Callable[..., Run], tmp_path: Path, bystander: str
) -> None:
    running = started("--data", amazon_reviews(tmp_path / "reviews.tsv", 2000), "epochs=100")
    running.wait_for("classes: ")
    running.interrupt()
    assert running.wait() == 130
    assert "Traceback" not in running.text
    assert running.text.endswith("launch.py: interrupted; the files and containers of this run were removed\n")
    assert not running.folder.exists()
    assert docker("ps", "--quiet", "--no-trunc", f"--filter=id={bystander}") == [bystander]
