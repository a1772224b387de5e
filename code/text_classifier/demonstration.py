"""Classifies a few validation rows of a local job with the model that it has trained.

    python -m text_classifier.demonstration MODEL CHANNELS

MODEL is the model's folder, CHANNELS the folder with the job's channels. Prints a JSON list with one object of `text`,
`label`, `predicted` and `probability` per row; the probability is null where the task has none for an answer.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.trained import read_manifest
from text_classifier.dataset.load import read_data
from text_classifier.results.answers import answers
from text_classifier.serving.model import load

#: Rows that are shown, evenly over the split.
ROWS = 5


def classified(model: Path, channels: Path) -> list[dict[str, Any]]:
    """The rows with their labels and predictions."""
    # The same settings and files give the same split as in the job.
    settings = Settings(**read_manifest(model)["hyperparameters"])
    data = read_data({path.name: path for path in channels.iterdir()}, settings)
    validation = data.splits["validation"]
    rows = validation.take(np.unique(np.linspace(0, len(validation) - 1, ROWS).astype(int)))
    texts = rows.texts[:]
    served = load(model)
    logits = served.logits(served.encode(texts)[0])
    shown = answers(data.task)
    header = shown.header(data.classes, has_ids=False, has_labels=False)[1:]
    found = []
    for text, target, cells in zip(texts, rows.targets, shown.cells(logits, data.classes), strict=True):
        answer = dict(zip(header, cells, strict=True))
        predicted, probability = answer["predicted"], None
        if data.task.problem_type == "single_label_classification":
            probability = float(answer.get(f"probability_{predicted}") or answer["top_1_probability"])
        label = shown.label(target, data.classes)
        found.append({"text": text, "label": label, "predicted": predicted, "probability": probability})
    return found


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        rows = classified(*map(Path, sys.argv[1:]))
    print(json.dumps(rows))
