"""The README's pictures: of the results as they are, small, and legible on light and dark pages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tools import pictures


def test_the_chart_is_of_the_results_as_they_are() -> None:
    assert (pictures.IMAGES / "benchmark.svg").read_text() == pictures.chart()


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in pictures.IMAGES.iterdir()) <= 300_000


@pytest.mark.parametrize("background", ["#ffffff", "#0d1117"])
def test_the_chart_can_be_read_on_light_and_dark_pages(background: str) -> None:
    """The contrast that WCAG 2 asks of large text is 3."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(pictures.INK), luminance(background)))
    assert (light + 0.05) / (dark + 0.05) > 4.2


def test_without_a_report_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="run `make local-test` first"):
        pictures.newest_report()
    with pytest.raises(SystemExit, match=r"gone\.html is not a file"):
        pictures.photograph(tmp_path / "gone.html", tmp_path / "report.png")


def test_without_its_programs_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "report.html").touch()
    with pytest.raises(SystemExit, match="apt-get install chromium pngquant"):
        pictures.photograph(tmp_path / "report.html", tmp_path / "report.png")


def test_the_newest_report_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    for name, time in (("a", 200), ("b", 100)):
        report = tmp_path / "build" / "local" / name / "output" / "data" / "report.html"
        report.parent.mkdir(parents=True)
        report.touch()
        os.utime(report, (time, time))
    assert pictures.newest_report().parts[-4] == "a"
