"""Checkpoints on disk: writing, verifying, listing and pruning. Their content is defined in state.py.

A checkpoint is a folder `step-N` of safetensors and JSON files (no pickle) with a manifest of sizes and SHA-256 sums.
It is written to a temporary folder and renamed when complete, so a killed process leaves nothing that looks like one.
SageMaker copies the files to S3 and back in any order: there only the manifest tells whether a checkpoint is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from text_classifier.contract.errors import PlatformError, printable

MANIFEST = "manifest.json"
STATE = "state.json"
KEPT = 2

#: A step has at most 15 digits: a larger number is none that a job can reach.
_FOLDER = re.compile(r"step-([0-9]{1,15})")

#: Bytes of a manifest, and of a state with the metrics of 100,000 epochs.
_MOST_JSON = 100_000_000

#: Characters of the reason why a checkpoint is not used.
_LONGEST_REASON = 300

#: dtype and shape of a tensor, as the header of a safetensors file has them.
Header = tuple[str, tuple[int, ...]]
Headers = Mapping[str, Mapping[str, Header]]


@dataclass(frozen=True)
class Content:
    """The content of a checkpoint: tensors on the CPU by file and name, and a state for JSON."""

    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    state: Mapping[str, Any]


class Fit(Protocol):
    """What a checkpoint must be to be used: each answer is a defect, or None."""

    def misfit_of_tensors(self, stored: Headers) -> str | None: ...

    def misfit_of_content(self, step: int, content: Content) -> str | None: ...


class _Damaged(Exception):
    """A checkpoint cannot be used, for this reason."""


class Checkpoints:
    """The checkpoints of a job in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._own: dict[str, str] | None = None  #: the manifests that were there at the start or are of this job

    def write(self, step: int, content: Content) -> None:
        """Write a checkpoint, then prune all but the newest `KEPT`. Raises OSError and leaves the others intact.

        Raises PlatformError if another job has written one meanwhile.
        """
        self._require_alone()
        for unfinished in self.directory.glob("step-*.writing"):  # of a process that was killed
            shutil.rmtree(unfinished, ignore_errors=True)
        temporary = self.directory / f"step-{step}.writing"
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
            self._own = self._manifests()
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, SafetensorError):  # its own error for a full disk
                raise OSError(str(error)) from error
            raise
        self._prune(step)

    def newest(self, fit: Fit | None = None) -> tuple[int, Content] | None:
        """Step and content of the newest complete checkpoint that fits; None if there is no checkpoint at all.

        Raises PlatformError if there are checkpoints and none is complete: a fresh start would discard work.
        """
        folders = self._folders()
        self._own = self._manifests()
        for step, folder in folders:
            try:
                return step, _read(step, folder, fit)
            except _Damaged as damage:
                reason = printable(str(damage))[:_LONGEST_REASON]
                print(f"WARNING: the checkpoint {folder.name} is not used: {reason}", flush=True)
        if folders:
            raise PlatformError(
                f"none of the {len(folders)} checkpoints in {self.directory} is complete; restore one from S3, or "
                "empty that folder to start from the beginning"
            )
        return None

    def newest_state(self) -> Mapping[str, Any]:
        """The state of the newest complete checkpoint, whether it fits or not; empty if there is none."""
        for _, folder in self._folders():
            with contextlib.suppress(_Damaged):
                _require_unchanged(folder, _files(folder))
                return _json(folder / STATE)
        return {}

    def held_bytes(self) -> int:
        """The size of the newest `KEPT` checkpoints, whose place those of this job take; 0 for closed folders."""
        files = [path for _, folder in self._folders()[:KEPT] for path in folder.glob("*") if _is_plain(path)]
        return sum(path.stat().st_size for path in files)

    def _folders(self) -> list[tuple[int, Path]]:
        """Newest first. Other entries (SageMaker's markers, lost+found, links) are ignored."""
        try:
            paths = [path for path in self.directory.iterdir() if path.is_dir() and not path.is_symlink()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PlatformError(
                f"the checkpoints in {self.directory} cannot be read ({error.strerror}); use another checkpoint folder"
            ) from None
        matches = [(path, _FOLDER.fullmatch(path.name)) for path in paths]
        return sorted(((int(match[1]), path) for path, match in matches if match), reverse=True)

    def _manifests(self) -> dict[str, str]:
        """A digest of each checkpoint's manifest, by folder."""
        manifests = [folder / MANIFEST for _, folder in self._folders()]
        return {path.parent.name: _digest(path) for path in manifests if _is_plain(path)}

    def _require_alone(self) -> None:
        """Raise PlatformError if the folder has a checkpoint that this job has neither found at its start nor written.

        A lock would not tell: SageMaker brings back the files of a job that was reclaimed, and its lock among them.
        """
        if self._own is None:
            self._own = self._manifests()
        for name, digest in self._manifests().items():
            if self._own.get(name) != digest:
                raise PlatformError(
                    f"another job writes checkpoints to {self.directory} too ({name} is not this job's); give each job "
                    "a checkpoint folder of its own"
                )

    def _prune(self, step: int) -> None:
        """Keep the newest `KEPT` up to this step. Later ones were there and could not be used."""
        for _, folder in [(number, folder) for number, folder in self._folders() if number <= step][KEPT:]:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Removes the manifest first, so that an interrupted removal leaves an incomplete checkpoint."""
        if folder.is_symlink():
            folder.unlink()
            return
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _read(step: int, folder: Path, fit: Fit | None) -> Content:
    """The content of a checkpoint. Raises _Damaged if it is incomplete or does not fit.

    What fits by its headers is no larger than the job's own checkpoints: only that is read as a whole.
    """
    files = _files(folder)
    weights = [name for name in sorted(files) if name.endswith(".safetensors")]
    try:
        headers = {Path(name).stem: _headers(folder / name) for name in weights}
        if fit and (misfit := fit.misfit_of_tensors(headers)):
            raise _Damaged(misfit)
        _require_unchanged(folder, files)
        state = _json(folder / STATE)
        content = Content({Path(name).stem: load_file(folder / name) for name in weights}, state)
    except (SafetensorError, OSError, ValueError) as error:
        raise _Damaged(f"its tensors cannot be read ({error})") from None
    if fit and (misfit := fit.misfit_of_content(step, content)):
        raise _Damaged(misfit)
    return content


def _files(folder: Path) -> dict[str, Any]:
    """The entries of the manifest by file. Raises _Damaged if a file is missing, has another size, or is no part of a
    checkpoint."""
    files = _json(folder / MANIFEST).get("files")
    if not isinstance(files, dict) or STATE not in files:
        raise _Damaged(f"{MANIFEST} does not name {STATE}")
    for name, entry in files.items():
        path = folder / name
        if path.name != name or not _is_plain(path):
            raise _Damaged(f"{name} is missing")
        if not isinstance(entry, dict) or {*entry} != {"size", "sha256"}:
            raise _Damaged(f"{MANIFEST} is damaged")
        if path.stat().st_size != entry["size"]:
            raise _Damaged(f"{name} has changed since it was written")
        if name != STATE and path.suffix != ".safetensors":
            raise _Damaged(f"{name} does not belong in a checkpoint")
    if files[STATE]["size"] > _MOST_JSON:
        raise _Damaged(f"{STATE} is larger than {_MOST_JSON // 1_000_000} MB")
    return files


def _require_unchanged(folder: Path, files: Mapping[str, Any]) -> None:
    """Raise _Damaged if a file has another content than the manifest says."""
    try:
        for name in sorted(files):
            if _sha256(folder / name) != files[name]["sha256"]:
                raise _Damaged(f"{name} has changed since it was written")
    except OSError as error:
        raise _Damaged(f"{name} cannot be read ({error.strerror})") from None


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises _Damaged."""
    try:
        if not _is_plain(path):
            raise _Damaged(f"{path.name} is missing")
        if path.stat().st_size > _MOST_JSON:
            raise _Damaged(f"{path.name} is larger than {_MOST_JSON // 1_000_000} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _Damaged(f"{path.name}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise _Damaged(f"{path.name} is damaged") from None
    if not isinstance(content, dict):
        raise _Damaged(f"{path.name} is damaged")
    return content


def _headers(path: Path) -> dict[str, Header]:
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def _is_plain(path: Path) -> bool:
    """Whether it is a file and no link: reading a pipe may never end, and a link may lead anywhere."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # a name with NUL
        return False


def _digest(manifest: Path) -> str:
    """What tells this manifest from another one. Of one that is too large to be read, or is gone, its name."""
    try:
        return _sha256(manifest) if manifest.stat().st_size <= _MOST_JSON else manifest.name
    except OSError:
        return manifest.name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
