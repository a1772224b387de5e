"""Two runs side by side: settings that differ, and metrics with their intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import ROOT
from text_classifier.contract.errors import JobError, UserError, printable
from text_classifier.contract.metric_names import ERRORS
from text_classifier.contract.schema import MANIFEST, METRICS, Manifest, Metrics, Scores
from text_classifier.contract.schema_files import mistyped, read

#: Where the results of jobs are, by name: downloaded ones and those of `launch.py local`.
RESULTS = (ROOT / "build" / "jobs", ROOT / "build" / "local")

#: Where pages are written.
PAGES = ROOT / "build" / "compare"

#: Settings that decide which rows are split off for validation.
_SPLIT_BY = ("seed", "train_size", "max_data_rows", "group_column")

#: Characters of a path to a key, in a message.
_LONGEST_PATH = 100

#: Metrics of which less is better.
_LESS = ERRORS | {"log_loss", "train_loss", "validation_loss"}


@dataclass(frozen=True)
class Run:
    """The results of a job. Without its manifest the settings are not known."""

    name: str
    metrics: Metrics
    manifest: Manifest | None


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of which names the row; `apart`: rows that stand out."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    apart: frozenset[int] = frozenset()


def find(run: str) -> Path | None:
    """The metrics.json of a run: that file, a folder with the results of a job, or the name of a job whose results are
    in build/. None for a name without results here. Raises UserError for a path without metrics.json."""
    path = Path(run)
    if path.is_file():
        return path
    if path.is_dir():
        if found := _metrics_in(path):
            return found
        raise UserError(f"{run} has no {METRICS}; give the folder of an unpacked output.tar.gz, or of `download`")
    if len(path.parts) != 1 or path.suffix == ".json":
        raise UserError(f"{run} does not exist; give a job, a {METRICS} or a folder with one")
    return next(filter(None, (_metrics_in(folder / run) for folder in RESULTS)), None)


def _metrics_in(folder: Path) -> Path | None:
    places = (folder, folder / "output", folder / "output" / "data", folder / "data")
    return next((place / METRICS for place in places if (place / METRICS).is_file()), None)


def load(path: Path) -> Run:
    """The run of this metrics.json, with the manifest of the model beside it. Raises UserError."""
    metrics = _read(path, Metrics)
    above = path.parent
    places = (above, above / "model", above.parent / "model", above.parent.parent / "model")
    found = next((place / MANIFEST for place in places if (place / MANIFEST).is_file()), None)
    manifest = _read(found, Manifest) if found else None
    named = manifest["training_job"] if manifest else None
    folder = above
    while folder.name in ("output", "data", "model"):
        folder = folder.parent
    return Run(named or folder.resolve().name, metrics, manifest)


def _read(path: Path, kind: type[Any]) -> Any:
    needed = ("hyperparameters", "training_job", "files") if kind is Manifest else ("rows", "epochs")
    try:
        content = read(path, kind, needed)
        if missing := [key for key in needed if key not in content]:
            raise ValueError(f"it has no {missing[0]}")
        if wrong := mistyped(content, kind):
            raise ValueError(f"it has another type of value in {wrong.lstrip('.')[:_LONGEST_PATH]}")
        return content
    except (OSError, ValueError, JobError) as error:
        reason = printable(str(error).splitlines()[0])
        raise UserError(f"{path} is not a file of a job that can be compared ({reason}); give another") from None


def tables(first: Run, second: Run) -> list[Table]:
    """The comparison."""
    runs = (first, second)
    names = (first.name, second.name)
    is_alike = _measured(first) == _measured(second)
    found = [Table("Runs", ("", *names), list(_facts(runs)), _caution(first, second))]
    if first.manifest and second.manifest:
        settings = [run.manifest["hyperparameters"] for run in runs if run.manifest]
        every = dict.fromkeys(name for of_run in settings for name in of_run)
        rows = [
            (name, *(_text(of_run.get(name, "(unknown)")) for of_run in settings))
            for name in every
            if settings[0].get(name) != settings[1].get(name)
        ]
        note = "" if rows else "All hyperparameters are equal."
        found.append(Table("Settings that differ", ("hyperparameter", *names), rows, note))
    else:
        without = " and ".join(run.name for run in runs if run.manifest is None)
        note = f"Not known: there is no {MANIFEST} of {without}."
        found.append(Table("Settings that differ", ("hyperparameter", *names), [], note))
    for split in ("test", "validation"):
        parts = [run.metrics.get(split) for run in runs]
        if all(parts):
            found.append(_metrics_table(f"Metrics on the {split} rows", names, parts, is_alike=is_alike))
    if len(found) == 2:  # of jobs that were stopped
        parts = [{name: run.metrics.get(name) for name in Scores.__annotations__} for run in runs]
        found.append(_metrics_table("Metrics of the best epoch", names, parts, is_alike=is_alike))
    return found


def _facts(runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    def row(name: str, values: Sequence[Any]) -> Iterator[tuple[str, ...]]:
        if any(value is not None for value in values):
            yield (name, *("" if value is None else _text(value) for value in values))

    manifests: list[Mapping[str, Any]] = [run.manifest or {} for run in runs]
    machine = [manifest.get("run") or {} for manifest in manifests]
    yield from row("finished", [of_run.get("finished") for of_run in machine])
    yield from row("instance type", [of_run.get("instance_type") for of_run in machine])
    yield from row("processor", [of_run.get("gpu") or of_run.get("processor") for of_run in machine])
    yield from row("minutes", [of_run.get("minutes") for of_run in machine])
    yield from row("base model", [(manifest.get("base_model") or {}).get("name") for manifest in manifests])
    for split in ("train", "validation", "test"):
        yield from row(f"{split} rows", [run.metrics["rows"].get(split) for run in runs])
    yield from row("steps", [run.metrics.get("steps") for run in runs])
    yield from row("best epoch", [run.metrics.get("best_epoch") for run in runs])
    speeds = [run.metrics.get("throughput", {}).get("rows_per_second") for run in runs]
    yield from row("training rows per second", [None if speed is None else round(speed, 1) for speed in speeds])


def _caution(first: Run, second: Run) -> str:
    """Why the metrics may not be comparable; empty if nothing speaks against it."""
    if _measured(first) != _measured(second):
        return "CAUTION: the runs have different tasks or classes, so their metrics cannot be compared."
    files = [_evaluated_files(run) for run in (first, second)]
    rows = [{name: count for name, count in run.metrics["rows"].items() if name != "train"} for run in (first, second)]
    if rows[0] != rows[1] or (None not in files and files[0] != files[1]):
        return "CAUTION: the runs were evaluated on different rows, so a difference may be that of the rows."
    return ""


def _measured(run: Run) -> tuple[Any, ...]:
    """What the metrics are of: the task, by its main metric, and the classes."""
    return run.metrics.get("headline"), run.metrics.get("classes")


def _evaluated_files(run: Run) -> list[Any] | None:
    """What decides the evaluated rows: their files, or the files and settings of the split. None if not known."""
    if run.manifest is None or not run.manifest["files"]:
        return None
    hashes = {name: file.get("sha256") for name, file in run.manifest["files"].items()}
    if None in hashes.values():
        return None
    has_channel = any(name.startswith("validation/") for name in hashes)
    settings = run.manifest["hyperparameters"]
    split_by = [] if has_channel else [settings.get(name) for name in _SPLIT_BY]
    splits = ("validation/", "test/") if has_channel else ("train/", "test/")
    return [*split_by, *sorted(value or "" for name, value in hashes.items() if name.startswith(splits))]


def _metrics_table(title: str, names: tuple[str, str], parts: Sequence[Any], *, is_alike: bool) -> Table:
    """Both values of each metric; of runs that are alike also which is better."""
    rows, apart = [], set()
    for metric in Scores.__annotations__:
        values = [part.get(metric) for part in parts]
        if not any(_is_defined(value) for value in values):
            continue
        intervals = [_interval(part, metric) for part in parts]
        cells = [_with_interval(value, interval) for value, interval in zip(values, intervals, strict=True)]
        if not all(map(_is_defined, values)) or not is_alike:
            rows.append((metric, *cells, *([""] * 2 if is_alike else [])))
            continue
        difference = values[1] - values[0]
        better = "" if not difference else names[int((difference > 0) != (metric in _LESS))]
        if intervals[0] and intervals[1] and (intervals[0][1] < intervals[1][0] or intervals[1][1] < intervals[0][0]):
            apart.add(len(rows))
        rows.append((metric, *cells, f"{difference:+.4f}", better))
    note = (
        "With 95 % intervals where there are any. Marked *: the intervals do not overlap, so the difference is "
        "unlikely to be chance. Where they overlap, it may be."
    )
    if not is_alike:
        return Table(title, ("metric", *names), rows)
    return Table(title, ("metric", *names, "difference", "better"), rows, note, frozenset(apart))


def _interval(part: Mapping[str, Any], metric: str) -> tuple[float, float] | None:
    bounds = part.get("intervals", {}).get(metric) or []
    return (float(bounds[0]), float(bounds[1])) if len(bounds) == 2 and all(map(_is_defined, bounds)) else None


def _is_defined(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or not _is_defined(value):
        return "undefined"
    return f"{value:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
