"""Makes the README's pictures: docs/images/report.png and docs/images/benchmark.svg.

    python -m tools.pictures                   both
    python -m tools.pictures --report FILE     of this report.html, not of the newest run in build/local

The report needs a run of `make local-test`, and Chromium and pngquant (Debian's packages of these names). The chart
needs nothing: it is drawn from benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

#: CSS pixels of the report's picture, and device pixels per CSS pixel.
WIDTH, HEIGHT, SCALE = 1000, 1430, 1.5

# One set of colors for light and dark pages: the same contrast, 4.3, against #ffffff and #0d1117.
INK, OURS, OTHERS = "#797979", "#2f81d7", "#9a9a9a"

NAMES = {
    "ours": "this project",
    "H*": "Trainer, fastest settings (H*)",
    "H0": "Trainer, defaults (H0)",
    "T": "one padded row at a time (T)",
}


@dataclass(frozen=True)
class Contest:
    """One machine and setting of the benchmark, and where its figures are."""

    title: str
    file: str
    tokens: int


CONTESTS = (
    Contest("NVIDIA H100, DistilBERT shape, 32 rows per step, 128 tokens", "2026-11-27-h100-32-rows.json", 128),
    Contest("2 cores of an Intel Xeon with AMX, MiniLM, 32 rows per step, 128 tokens", "2026-11-27-cpu.json", 128),
)


def bars(contest: Contest) -> list[tuple[str, float, float]]:
    """Name, texts per second, and how many times as long as ours it takes; ours first. Medians of the rounds."""
    result = json.loads((RESULTS / contest.file).read_text(encoding="utf-8"))
    [found] = [entry for entry in result["competitions"] if entry["tokens"] == contest.tokens]
    competitors = found["competitors"]
    return [
        (
            NAMES[key],
            competitors[key]["sequences_per_second"]["median"],
            competitors[key]["against_ours"]["median"],
        )
        for key in NAMES
        if key in competitors
    ]


def chart() -> str:
    """The benchmark as an SVG bar chart: texts per second, a panel per machine."""
    left, right, top, row, gap = 262, 560, 34, 30, 26
    parts, y = [], 24
    for contest in CONTESTS:
        figures = bars(contest)
        fastest = figures[0][1]
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{escape(contest.title)}</text>')
        for index, (name, rate, times) in enumerate(figures):
            middle = y + top + index * row
            length = max(2, (right - left) * rate / fastest)
            color, weight = (OURS, ' font-weight="bold"') if index == 0 else (OTHERS, "")
            label = f"{rate:,.0f} texts/s" if index == 0 else f"{rate:,.0f} texts/s (takes {times:.1f} times as long)"
            parts += [
                f'<text x="{left - 10}" y="{middle}" text-anchor="end"{weight}>{escape(name)}</text>',
                f'<rect x="{left}" y="{middle - 15}" width="{length:.1f}" height="20" rx="2" fill="{color}"/>',
                f'<text x="{left + length + 8:.1f}" y="{middle}"{weight}>{label}</text>',
            ]
        y += top + len(figures) * row + gap
    height = y - gap + 6
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 770 {height}" width="770" height="{height}"'
            f' font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" font-size="16" fill="{INK}">',
            "<title>Training speed in texts per second</title>",
            *parts,
            "</svg>\n",
        )
    )


def newest_report() -> Path:
    """The report.html of the newest local run. Raises SystemExit with one sentence when there is none."""
    found = sorted((ROOT / "build" / "local").glob("*/output/data/report.html"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit("there is no report in build/local; run `make local-test` first, or give one with --report")
    return found[-1]


def photograph(report: Path, picture: Path) -> None:
    """The top of a report as a PNG of few colors. Raises SystemExit when the report or a program is missing."""
    if not report.is_file():
        raise SystemExit(f"{report} is not a file; give the report.html of a run with --report")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None or shutil.which("pngquant") is None:
        raise SystemExit("install Chromium and pngquant first (apt-get install chromium pngquant)")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "report.png"
        subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={folder}/profile", f"--force-device-scale-factor={SCALE}",
                f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={raw}", report.resolve().as_uri(),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(
            ["pngquant", "--force", "--strip", "--speed", "1", "--output", str(picture), "64", str(raw)], check=True
        )


def main(arguments: Sequence[str]) -> int:
    """Write the pictures. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description="Make the README's pictures.")
    parser.add_argument("--report", type=Path, metavar="FILE", help="report.html (default: that of the newest run)")
    options = parser.parse_args(arguments)
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / "benchmark.svg").write_text(chart(), encoding="utf-8")
    photograph(options.report or newest_report(), IMAGES / "report.png")
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
