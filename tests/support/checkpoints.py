"""Checkpoints that were changed."""

from __future__ import annotations

import json
from pathlib import Path

from text_classifier.training.checkpoint import MANIFEST, _sha256


def sign(folder: Path) -> None:
    """Write a manifest that is right about the folder, as an attacker would."""
    files = [path for path in folder.iterdir() if path.name != MANIFEST]
    entries = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in files}
    (folder / MANIFEST).write_text(json.dumps({"files": entries}))
