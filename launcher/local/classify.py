"""Runs inside the image: classifies up to five validation rows of a job with the model that it has trained.

argv[1] is the model folder, argv[2] the folder with the job's channels. Prints a JSON list with one
{"text", "label", "predicted", "probability"} per row; the probability is null where the task has none for an answer.
"""

import contextlib
import json
import sys
from pathlib import Path

import numpy as np

from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.trained import read_manifest
from text_classifier.dataset.load import read_data
from text_classifier.results.answers import answers
from text_classifier.serving.model import load

ROWS = 5

model, channels = map(Path, sys.argv[1:])
with contextlib.redirect_stdout(sys.stderr):
    # The same settings and files give the same split as in the job.
    data = read_data(
        {path.name: path for path in channels.iterdir()}, Settings(**read_manifest(model)["hyperparameters"])
    )
    validation = data.splits["validation"]
    rows = validation.take(np.unique(np.linspace(0, len(validation) - 1, ROWS).astype(int)))
    texts = rows.texts[:]
    served = load(model)
    logits = served.logits(served.encode(texts)[0])

shown = answers(data.task)
header = shown.header(data.classes, has_ids=False, has_labels=False)[1:]
result = []
for text, target, cells in zip(texts, rows.targets, shown.cells(logits, data.classes), strict=True):
    found = dict(zip(header, cells, strict=True))
    predicted, probability = found["predicted"], None
    if data.task.problem_type == "single_label_classification":
        probability = float(found.get(f"probability_{predicted}") or found["top_1_probability"])
    result.append(
        {
            "text": text,
            "label": shown.label(target, data.classes),
            "predicted": predicted,
            "probability": probability,
        }
    )
print(json.dumps(result))
