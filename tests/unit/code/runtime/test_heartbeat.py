from __future__ import annotations

import re
import threading
import time

import pytest

from text_classifier.runtime.heartbeat import Progress, progress, working


def test_a_line_comes_while_something_takes_long_and_none_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with working("reading", 0.05):
        time.sleep(0.18)
    lines = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 3 and all(re.fullmatch(r"still reading, 0 s so far", line) for line in lines)
    time.sleep(0.1)
    assert capsys.readouterr().out == "" and threading.active_count() == before


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with working("reading"):
        pass
    assert capsys.readouterr().out == ""


def test_an_error_passes_and_ends_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), working("reading", 0.02):
        raise KeyError
    time.sleep(0.05)
    assert capsys.readouterr().out == ""


def test_one_process_of_a_host_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with working("reading", 0.02):
        time.sleep(0.06)
    assert capsys.readouterr().out == ""


def test_the_line_says_how_far_it_has_come(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "total", 4_000_000)
    monkeypatch.setattr(progress, "rows", 1_500)
    with working("reading", 0.02):
        time.sleep(0.05)
    assert "still reading, 0 s so far: 1,500 rows, 0 of 4 MB\n" in capsys.readouterr().out
    assert Progress(1_500, 1_000_000, 4_000_000).describe(10) == ": 1,500 rows, 1 of 4 MB, about 30 s left"
    assert Progress().describe(10) == ""
