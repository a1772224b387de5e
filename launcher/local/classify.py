"""Runs inside the image: loads the model folder argv[1] and classifies the texts argv[2:].

Prints a JSON list with one {"label", "score"} per text.
"""

import json
import sys

from transformers import pipeline

_, directory, *texts = sys.argv
print(json.dumps(pipeline("text-classification", model=directory)(texts)))
