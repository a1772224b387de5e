"""Where a model comes from: the job, its machine, and the base model by its name."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from huggingface_hub import ModelCard

from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import BaseModel, Manifest, Run
from text_classifier.runtime import toolkit
from text_classifier.runtime.configuration import Configuration
from text_classifier.runtime.folders import JobFolders

#: A name on the Hub, with its owner or, of the oldest models, without. A path is not a name.
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9]([\w.-]{0,94}\w)?(/[A-Za-z0-9]([\w.-]{0,94}\w)?)?", re.ASCII)

#: A model card is not read beyond this size.
_LARGEST_CARD = 1 << 20

UNNAMED = "model channel"


def run_of(folders: JobFolders) -> Run:
    """The machine, and the time until now."""
    resources = folders.configuration.resources()
    gpus = torch.cuda.device_count()
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((time.time() - psutil.Process().create_time()) / 60, 2),
        "instance_type": resources.get("current_instance_type"),
        "hosts": len(resources.get("hosts", [""])),
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", "")) or None,
        "gpu": torch.cuda.get_device_name(0) if gpus else None,
        "gpus": gpus,
    }


def line(manifest: Manifest) -> str:
    """Job, date, machine and minutes in one line; what is not known is left out."""
    run, job = manifest.get("run"), manifest["training_job"]
    parts = [f"Job {job}"] if job else []
    if run:
        finished = datetime.fromisoformat(run["finished"])
        chip = f"{run['gpus']} x {run['gpu']}" if run["gpus"] > 1 else run["gpu"] or run["processor"]
        machine = ", ".join(filter(None, (run["instance_type"], chip)))
        hosts = f"{run['hosts']} hosts" if run["hosts"] > 1 else ""
        minutes = f"{run['minutes']:.1f} minutes since the job last started"
        parts += [f"{finished:%Y-%m-%d %H:%M} UTC", *filter(None, (hosts, machine)), minutes]
    return " · ".join(parts)


def job_name(configuration: Configuration) -> str | None:
    """The name of the training job: of the environment, otherwise the one that the SDK passes on."""
    if name := os.environ.get("TRAINING_JOB_NAME"):
        return name
    passed = configuration.all_hyperparameters().get("sagemaker_job_name")
    return toolkit.text(passed) or None if isinstance(passed, str) else None


def base_model(settings: Settings, config: Any, channel: Path | None) -> BaseModel:
    """The model that was fine-tuned; `config` is that of transformers.

    A model channel is not necessarily what its files claim: the source of the name is told, and no revision.
    """
    if channel is None:
        revision = getattr(config, "_commit_hash", None)
        return {"name": settings.model_name, "architecture": config.model_type, "revision": revision, "source": "hub"}
    folder = Path(str(getattr(config, "_name_or_path", "")))
    found: BaseModel = {"name": UNNAMED, "architecture": config.model_type, "revision": None, "source": "unknown"}
    if name := _name_in_config(folder / "config.json"):
        return {**found, "name": name, "source": "config.json"}
    if name := _name_in_card(folder / "README.md"):
        return {**found, "name": name, "source": "model card"}
    return found


def _name_in_config(path: Path) -> str | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # of an adapter there is none
        return None
    return _checked(config.get("_name_or_path")) if isinstance(config, dict) else None


def _name_in_card(path: Path) -> str | None:
    try:
        if path.stat().st_size > _LARGEST_CARD:
            return None
        named = (
            ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict().get("base_model")
        )
    except Exception:  # whatever YAML and its reader raise: a card is no part of the model
        return None
    return _checked(named[0] if isinstance(named, list) and len(named) == 1 else named)


def _checked(name: object) -> str | None:
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None
