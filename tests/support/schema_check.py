"""Checks files of a job against contract.schema."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from text_classifier.contract.schema import DATA_REPORT, MANIFEST, METRICS, DataReport, Manifest, Metrics
from text_classifier.contract.schema_files import problems


def problems_of_job(base: Path) -> list[str]:
    """What is wrong with the public files of a finished or stopped job."""
    output = base / "output" / "data"
    files = {output / METRICS: Metrics, output / DATA_REPORT: DataReport, base / "model" / MANIFEST: Manifest}
    found = [each for path, kind in files.items() for each in problems(json.loads(path.read_text()), kind, path.name)]
    wrong = [f"{path}: {kind}" for path, kind in found]
    for path in output.glob("predictions_*.csv"):
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        if header[:3] != ["row", "label", "predicted"] or not all(n.startswith("probability_") for n in header[3:]):
            wrong.append(f"{path.name}: {header}")
    return wrong
