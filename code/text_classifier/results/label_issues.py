"""label_issues.csv: the rows whose label the model doubts, the most suspicious first.

Validation and test rows are judged out of sample, and with cross_validation so are training rows. Otherwise these are
judged by the model that has learned them, which hides some of their mistakes; the column `basis` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from text_classifier.contract.tables import issue_header
from text_classifier.results.answers import answers
from text_classifier.results.cells import row_writer
from text_classifier.results.evaluated import Evaluated

#: Rows of the file.
MOST = 10_000


@dataclass(frozen=True)
class Issue:
    """A row whose label the model doubts."""

    split: str
    row: int  #: index in the split
    basis: str  #: whether the model has learned the row
    label: str
    predicted: str
    doubt: list[str]  #: the cells of `Answers.doubt_columns`


def find(evaluated: Evaluated) -> list[Issue]:
    """The issues of all splits that were judged, the most suspicious first, at most MOST."""
    shown = answers(evaluated.task)
    logits: dict[str, np.ndarray] = {str(split): of_rows for split, of_rows in evaluated.logits.items()}
    if evaluated.training_logits is not None:
        logits["train"] = evaluated.training_logits
    doubted: list[tuple[float, str, int]] = []
    for split, of_rows in logits.items():
        doubts = shown.doubts(of_rows, evaluated.rows[split].targets)
        doubted += [(float(doubts[row]), split, int(row)) for row in np.flatnonzero(~np.isnan(doubts))]
    doubted = sorted(doubted, key=lambda entry: -entry[0])[:MOST]
    return [_issue(evaluated, split, row, doubt, logits[split][row : row + 1]) for doubt, split, row in doubted]


def _issue(evaluated: Evaluated, split: str, row: int, doubt: float, logits: np.ndarray) -> Issue:
    shown, classes = answers(evaluated.task), evaluated.classes
    targets = evaluated.rows[split].targets[row : row + 1]
    label, predicted = (shown.label(each[0], classes) for each in (targets, evaluated.task.predict(logits)))
    is_learned = split == "train" and not evaluated.is_cross_validated
    basis = "in-sample" if is_learned else "out-of-sample"
    return Issue(split, row, basis, label, predicted, shown.doubt_cells(doubt, logits, targets, classes))


def write(path: Path, evaluated: Evaluated, issues: Sequence[Issue], errors: str) -> None:
    """Write the file; `errors` says how characters without an encoding are written."""
    has_ids = any(rows.ids is not None for rows in evaluated.rows.values())
    with path.open("w", encoding="utf-8", errors=errors, newline="") as file:
        write_row = row_writer(file)
        write_row(issue_header(answers(evaluated.task).doubt_columns, has_ids=has_ids))
        for issue in issues:
            rows = evaluated.rows[issue.split]
            identity = [rows.ids[issue.row] if rows.ids else ""] if has_ids else []
            cells = [rows.places[issue.row], *identity, issue.basis, issue.label, issue.predicted, *issue.doubt]
            write_row(cells)
