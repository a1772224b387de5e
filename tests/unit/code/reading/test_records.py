"""Reading takes time linear in the bytes: lines and rows are counted, not seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from text_classifier.contract.errors import DataError, PlatformError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import bounds, dialect, json_files, records

Write = Callable[[str, str | bytes], Path]

GOOD = "text,label\n" + "good,a\nbad,b\n" * 50


@pytest.fixture
def read_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that csv.reader asks for."""
    taken: list[str] = []
    own = records._Replay.__next__

    def spy(self: Any) -> str:
        taken.append(line := own(self))
        return line

    monkeypatch.setattr(records._Replay, "__next__", spy)
    return taken


@pytest.mark.parametrize("line", ['x","y', 'x,"y', '",","', 'a,"b""', 'a,"b\n"c', 'x","y\nok,a'])
def test_lines_with_unbalanced_quotes_are_read_a_few_times(line: str, channel: Write, read_lines: list[str]) -> None:
    count = 2_000
    folder = channel("a.csv", GOOD + f"{line}\n" * count)
    with pytest.raises(DataError, match="bad_rows=skip accepts up to 1 % bad rows|all rows|no row"):
        read_data({"train": folder}, parse({"bad_rows": "skip"}))
    assert len(read_lines) < 5 * (count * (line.count("\n") + 1) + 200)


@pytest.mark.parametrize(
    "content",
    [
        (",".join(f"c{n}" for n in range(10_001)) + "\n" + "1,2\n"),
        ("\t".join(f"c{n}" for n in range(10_001)) + "\n" + "1\t2\n"),
    ],
)
def test_a_header_has_a_bound(content: str, channel: Write) -> None:
    with pytest.raises(DataError) as refused:
        read_data({"train": channel("a.csv", content)}, parse({}))
    assert str(refused.value) == (
        "train/a.csv has 10,001 columns, and the maximum is 10,000; keep those of the text and the label, or set "
        "delimiter"
    )


def test_columns_of_different_indices_are_refused(channel: Write) -> None:
    columns: dict[str, Any] = {f"c{n}": {str(n): 1} for n in range(2_000)}
    content = json.dumps({**columns, "text": {"0": "a"}, "label": {"0": 1}})
    with pytest.raises(DataError, match="has columns of different indices; write one JSON object per line"):
        read_data({"train": channel("a.json", content)}, parse({}))


def test_an_object_with_many_lists_is_compared_with_the_columns_once(
    channel: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    own = json_files._is_one_row
    monkeypatch.setattr(json_files, "_is_one_row", lambda *given: asked.append(1) or own(*given))
    content = json.dumps({"text": "a", "label": 1, **{f"k{n}": [{}] for n in range(500)}})
    with pytest.raises(DataError, match="all rows have the label"):
        read_data({"train": channel("a.json", content)}, parse({}))
    assert len(asked) < 5


@pytest.mark.parametrize("pattern", [dialect._ESCAPED, dialect._QUOTED, dialect._QUOTED_FIELD, json_files._STRING])
def test_patterns_do_not_start_again_within_what_they_have_read(pattern: re.Pattern[Any]) -> None:
    """With 400,000 quotes or backslashes time quadratic in them would be hours."""
    for text in ("\\" * 400_000, '"' + '\\"' * 400_000, '"' + "x" * 400_000):
        subject: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
        assert pattern.sub(subject[:0], subject) is not None


def test_unpacked_texts_leave_some_of_the_disk(channel: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "STEP", 1_000)
    monkeypatch.setattr(bounds.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1_500}))
    folder = channel("a.csv", "text,label\n" + "good,a\nbad,b\n" * 50)
    assert len(read_data({"train": folder}, parse({})).splits) == 2
    with pytest.raises(PlatformError, match="the unpacked data takes more than 0.0 GB, and .* has 0.0 GB left; give"):
        read_data({"train": channel("a.csv", "text,label\n" + "good,a\nbad,b\n" * 500)}, parse({}))
