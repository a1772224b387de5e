"""Checkpoints on disk: writing, verifying, listing and pruning. Their content is defined in resume.py.

A checkpoint is a folder `step-N` of safetensors and JSON files (no pickle) with a manifest of sizes and SHA-256 sums.
It is written to a temporary folder and renamed when complete, so a killed process leaves nothing that looks like one.
SageMaker copies the files to S3 and back in any order: there only the manifest tells whether a checkpoint is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from text_classifier.contract.errors import PlatformError

MANIFEST = "manifest.json"
STATE = "state.json"
KEPT = 2

_FOLDER = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Content:
    """The content of a checkpoint: tensors on the CPU by file and name, and a state for JSON."""

    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of a job in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, step: int, content: Content) -> None:
        """Write a checkpoint, then prune all but the newest `KEPT`. Raises OSError and leaves the others intact."""
        temporary = self.directory / f"step-{step}.writing"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            for name, tensors in content.tensors.items():
                save_file(dict(tensors), temporary / f"{name}.safetensors")
            (temporary / STATE).write_text(json.dumps(content.state, indent=2), encoding="utf-8")
            files = sorted(temporary.iterdir())
            entries = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in files}
            (temporary / MANIFEST).write_text(json.dumps({"files": entries}, indent=2), encoding="utf-8")
            for path in (*files, temporary / MANIFEST, temporary):
                _sync(path)
            self._remove(self.directory / f"step-{step}")
            temporary.rename(self.directory / f"step-{step}")
            _sync(self.directory)
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError):
                raise
            raise OSError(str(error)) from error  # safetensors reports a full disk as its own error
        self._prune()

    def newest(self) -> tuple[int, Content] | None:
        """Step and content of the newest complete checkpoint; None if there is no checkpoint at all.

        Raises PlatformError if there are checkpoints and none is complete: a fresh start would discard work.
        """
        folders = self._folders()
        for step, folder in folders:
            damage = _damage(folder)
            if damage is None:
                return step, _read(folder)
            print(f"WARNING: the checkpoint {folder.name} is not used: {damage}", flush=True)
        if folders:
            raise PlatformError(
                f"none of the {len(folders)} checkpoints in {self.directory} is complete; restore one from S3, or "
                "empty that folder to start from the beginning"
            )
        return None

    def _folders(self) -> list[tuple[int, Path]]:
        """Newest first. Other entries (SageMaker's markers, lost+found) are ignored."""
        if not self.directory.is_dir():
            return []
        matches = [(path, _FOLDER.fullmatch(path.name)) for path in self.directory.iterdir() if path.is_dir()]
        return sorted(((int(match[1]), path) for path, match in matches if match), reverse=True)

    def _prune(self) -> None:
        for _, folder in self._folders()[KEPT:]:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Removes the manifest first, so that an interrupted removal leaves an incomplete checkpoint."""
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _damage(folder: Path) -> str | None:
    """The defect of a checkpoint, or None if it is complete."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        if STATE not in files:
            return f"{MANIFEST} does not name {STATE}"
        for name, entry in files.items():
            path = folder / name
            if path.name != name or not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"] or _sha256(path) != entry["sha256"]:
                return f"{name} has changed since it was written"
    except OSError as error:
        return f"{MANIFEST}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def _read(folder: Path) -> Content:
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return Content(tensors, json.loads((folder / STATE).read_text(encoding="utf-8")))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
