"""What a job leaves behind: the model directory and the metrics."""

from __future__ import annotations

import json
import math
import platform
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from failures import PlatformError
from hyperparameters import Settings


def write_model(
    directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, manifest: dict[str, Any]
) -> None:
    """Fill the model directory: weights (safetensors), config, tokenizer, training_manifest.json; flat.

    All of it is written aside first, so that a full disk leaves no half of a model. Raises PlatformError.
    """
    aside = directory / ".writing"
    try:
        aside.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        write_json(aside / "training_manifest.json", manifest)
        for path in aside.iterdir():
            path.chmod(0o644)  # safetensors writes 0600, which the user who unpacks the archive could not read
            path.replace(directory / path.name)
        aside.rmdir()
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise PlatformError(
            f"the model cannot be written to {directory} ({error}); give the job a larger volume"
        ) from None


def manifest(status: str, settings: Settings, classes: tuple[str, ...], steps: int, epoch: int) -> dict[str, Any]:
    """How the model came to be: status is `completed` or `stopped`, epoch the one whose weights these are."""
    return {
        "status": status,
        "steps": steps,
        "epoch": epoch,
        "classes": list(classes),
        "hyperparameters": asdict(settings),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON as the standard has it: a metric that is not a number becomes null."""
    path.write_text(json.dumps(_finite(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
