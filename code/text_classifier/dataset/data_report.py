"""Statistics of the rows of a job: for the log, and as data_report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from text_classifier.contract.errors import listed, printable
from text_classifier.contract.schema import (
    DATA_REPORT,
    ChannelReport,
    DataReport,
    Distribution,
    SplitReport,
    TokenReport,
)
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.rows import Rows
from text_classifier.tasks.base import Task

#: Training rows of a class below which it is named, and classes that are named.
FEW_ROWS = 32
RARE_SHOWN = 20

#: Share of unknown tokens above which the log warns.
UNKNOWN_WARNED = 0.05


def describe_split(rows: Rows, task: Task, classes: tuple[str, ...]) -> SplitReport:
    """Statistics of one split and its labels."""
    has_text = rows.characters > 0
    report = {
        "rows": len(rows),
        **task.describe(rows.targets, classes),
        "characters": percentiles(rows.characters),
        "empty_texts": int((~has_text).sum()),
        "exact_duplicates": _repeated(rows.exact[has_text]),
        "near_duplicates": _repeated(rows.near[has_text]),
    }
    return cast(SplitReport, report)


def describe_channel(rows: Rows, bad: BadRows) -> ChannelReport:
    """How many rows of a channel were used, and how many left out."""
    return {
        "rows": len(rows),
        "bad_rows": bad.count,
        "bad_row_examples": bad.examples,
        "unmapped_labels": rows.dropped,
        "unlabelled": rows.unlabelled,
    }


def describe_tokens(
    lengths: np.ndarray, truncated: int, unknown_share: float, windows: np.ndarray | None = None
) -> TokenReport:
    """Distribution of the tokens kept per row of a split, how many rows had more, and the share of unknown tokens.

    `windows`: of each row, int64 [rows]; None: long texts are truncated.
    """
    report: TokenReport = {
        **percentiles(lengths),
        "truncated": truncated,
        "truncated_share": round(truncated / len(lengths), 4),
        "unknown_share": round(unknown_share, 4),
    }
    if windows is not None:
        report |= {"windows": int(windows.sum()), "in_windows": int((windows > 1).sum())}
    return report


def tokens_table(tokens: Mapping[str, TokenReport], max_sequence_length: int) -> str:
    """The tokens per row for the log: one line per split, and a warning where many tokens are unknown."""
    warnings = [
        f"WARNING: {of['unknown_share']:.1%} of the tokens of {name} are unknown to the model's tokenizer"
        for name, of in tokens.items()
        if of["unknown_share"] > UNKNOWN_WARNED
    ]
    lines = (
        f"tokens of {name}: median {of['median']}, 90 % {of['p90']}, 99 % {of['p99']}; "
        + (_windows(of, max_sequence_length) if "windows" in of else _truncated(of, max_sequence_length))
        for name, of in tokens.items()
    )
    return "\n".join([*lines, *warnings])


def _truncated(of: TokenReport, max_sequence_length: int) -> str:
    return f"{of['truncated_share']:.1%} of the texts are truncated to max_sequence_length={max_sequence_length}"


def _windows(of: TokenReport, max_sequence_length: int) -> str:
    cut = f", {of['truncated']:,} of them not to the end" if of["truncated"] else ""
    return (
        f"{of['in_windows']:,} texts are longer than max_sequence_length={max_sequence_length} and are read in windows"
        f"{cut}; {of['windows']:,} windows"
    )


def percentiles(values: np.ndarray) -> Distribution:
    """Mean, median, 90th and 99th percentile and maximum."""
    median, p90, p99, longest = np.percentile(values, [50, 90, 99, 100], method="lower").tolist()
    return {"mean": round(float(values.mean()), 1), "median": median, "p90": p90, "p99": p99, "max": longest}


def _repeated(hashes: np.ndarray) -> int:
    ordered = np.sort(hashes)  # in a hundredth of the time of np.unique, which hashes them
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def table(report: DataReport, task: Task) -> str:
    """The report as lines for the log."""
    splits = report["splits"]
    lines = [_line("split", "rows", "characters: median, 90 %, 99 %, max", "empty", "repeated")]
    for name, split in splits.items():
        lengths = ", ".join(f"{split['characters'][key]:,}" for key in ("median", "p90", "p99", "max"))
        lines.append(_line(name, split["rows"], lengths, split["empty_texts"], split["near_duplicates"]))
    lines += task.table(splits)
    for name, channel in report["channels"].items():
        if channel["bad_rows"] or channel["unmapped_labels"] or channel["unlabelled"]:
            without = f", {channel['unlabelled']:,} rows without a label" if channel["unlabelled"] else ""
            lines.append(
                f"left out of {name}: {channel['bad_rows']:,} bad rows, {channel['unmapped_labels']:,} rows with a "
                f"label that is not in label_map{without}"
            )
    return "\n".join(map(printable, [*lines, *map(_note, report["notes"])]))


def rare_notes(training: SplitReport) -> list[str]:
    """A note on the classes or labels with fewer than FEW_ROWS training rows; those without any have their own."""
    counts = training.get("classes", {})
    rare = sorted((count, name) for name, count in counts.items() if 0 < count < FEW_ROWS)
    if not rare:
        return []
    named = listed([f"{name} ({count})" for count, name in rare], RARE_SHOWN)
    return [
        f"fewer than {FEW_ROWS} training rows: {named}; the model may never predict such a class, and its metrics are "
        "uncertain: add rows of it, merge it with another class (label_map), or give it more weight (class_weights)"
    ]


def _note(note: str) -> str:
    return note if note.startswith("WARNING: ") else f"NOTE: {note}"


def _line(name: str, rows: int | str, lengths: str, empty: int | str, repeated: int | str) -> str:
    shown = [f"{value:,}" if isinstance(value, int) else value for value in (rows, empty, repeated)]
    return f"{name:<11}{shown[0]:>10}  {lengths:<36}{shown[1]:>8}{shown[2]:>10}"


def write(folder: Path, report: DataReport) -> None:
    """Write data_report.json."""
    (folder / DATA_REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
