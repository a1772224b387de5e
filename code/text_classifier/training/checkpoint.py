"""Checkpoints on disk: how they are written, checked, found and pruned. What is in them is resume.py's.

A checkpoint is a folder `step-N` of safetensors and JSON files (no pickle) with a manifest of sizes and SHA-256 sums.
It is written aside and renamed when whole, so a killed process leaves nothing that looks like one. SageMaker copies
the folder to S3 and back with no order among the files: there the manifest alone tells a whole one from a torn one.
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
    """What a checkpoint holds: tensors by file and name (on the CPU), and a state that JSON can carry."""

    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    state: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Size on disk, near enough."""
        return sum(t.numel() * t.element_size() for file in self.tensors.values() for t in file.values())


class Checkpoints:
    """The checkpoints of a job in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, step: int, content: Content) -> None:
        """Write a checkpoint, then prune all but the newest `KEPT`. Raises OSError; the others are whole then."""
        aside = self.directory / f"step-{step}.writing"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            for name, tensors in content.tensors.items():
                save_file(dict(tensors), aside / f"{name}.safetensors")
            (aside / STATE).write_text(json.dumps(content.state, indent=2), encoding="utf-8")
            files = sorted(aside.iterdir())
            entries = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in files}
            (aside / MANIFEST).write_text(json.dumps({"files": entries}, indent=2), encoding="utf-8")
            for path in (*files, aside / MANIFEST, aside):
                _sync(path)
            self._remove(self.directory / f"step-{step}")
            aside.rename(self.directory / f"step-{step}")
            _sync(self.directory)
        except Exception as error:
            shutil.rmtree(aside, ignore_errors=True)
            if isinstance(error, OSError):
                raise
            raise OSError(str(error)) from error  # safetensors has errors of its own for a full disk
        self._prune()

    def newest(self) -> tuple[int, Content] | None:
        """Step and content of the newest whole checkpoint; None when there is no checkpoint at all.

        Raises PlatformError when there are checkpoints and none is whole: to start anew would throw work away.
        """
        folders = self._folders()
        for step, folder in folders:
            damage = _damage(folder)
            if damage is None:
                return step, _read(folder)
            print(f"WARNING: the checkpoint {folder.name} is not used: {damage}", flush=True)
        if folders:
            raise PlatformError(
                f"none of the {len(folders)} checkpoints in {self.directory} is whole; restore one from S3, or empty "
                "that folder to start from the beginning"
            )
        return None

    def _folders(self) -> list[tuple[int, Path]]:
        """Newest first. Whatever else lies there (SageMaker's markers, lost+found) is no checkpoint."""
        if not self.directory.is_dir():
            return []
        found = [(path, _FOLDER.fullmatch(path.name)) for path in self.directory.iterdir() if path.is_dir()]
        return sorted(((int(match[1]), path) for path, match in found if match), reverse=True)

    def _prune(self) -> None:
        for _, folder in self._folders()[KEPT:]:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """The manifest goes first: what is left of a removal that was interrupted is not whole."""
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None when it is whole."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        if STATE not in files:
            return f"{MANIFEST} does not name {STATE}"
        for name, entry in files.items():
            path = folder / name
            if path.name != name or not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"] or _sha256(path) != entry["sha256"]:
                return f"{name} is not what was written"
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
