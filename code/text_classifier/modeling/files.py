"""Safe loading of a model channel: safetensors and JSON only, from inside the channel, never a pickle."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from text_classifier.contract.archives import members
from text_classifier.contract.errors import SettingsError, listed, printable
from text_classifier.reading.permissions import forbidden_below, require_permission
from text_classifier.reading.sources import MOST_NESTED

#: A checkpoint folder of transformers' Trainer.
_CHECKPOINT = re.compile(r"checkpoint-\d+")

#: Folders of unpacked archives, which live as long as the process.
_UNPACKED: list[tempfile.TemporaryDirectory[str]] = []


def model_directory(channel: Path, say: Callable[[str], None]) -> Path:
    """The folder with config.json: the channel itself, a folder in it, or that of an archive `model.tar.gz` in it.

    Of several checkpoints of a training (`checkpoint-500`, `checkpoint-1000`) it is the latest; `say` tells the choice.
    Pickled weights next to safetensors are ignored, as people keep both. Raises SettingsError if there is no model, or
    more than one, or only pickled weights, or if a link points outside the channel, or a folder may not be read.
    """
    try:
        _require_plain(channel)
    except PermissionError as error:
        raise SettingsError(str(forbidden_below(channel, error))) from None
    root = channel
    folders = _with_config(root)
    archives = sorted(path for path in channel.rglob("*.tar.gz") if path.is_file())
    if not folders and len(archives) == 1:
        say(f"the model is that of {printable(str(archives[0].relative_to(channel)))} in the channel 'model'")
        root = _unpacked(archives[0])
        folders = _with_config(root)
    if not folders:
        raise SettingsError(
            "the channel 'model' has no config.json; provide a model folder as save_pretrained writes it: "
            "config.json, model.safetensors and the tokenizer's files"
        )
    folder = folders[0] if len(folders) == 1 else _latest(folders, root, say)
    if not list(folder.glob("*.safetensors")) and not (folder / "adapter_config.json").exists():
        raise SettingsError(
            "the channel 'model' has no .safetensors weights; save them with save_pretrained (pickled .bin and .pt "
            "files are not read, because they can run code)"
        )
    return folder


def _require_plain(channel: Path) -> None:
    """Raise SettingsError for links that lead out of the channel or nowhere, for pipes and devices, of which reading
    may never end, and for folders nested deeper than in any model. Raises PermissionError for closed folders."""
    root = channel.resolve()
    for parent, folders, files in os.walk(channel, onerror=require_permission):
        if len(Path(parent).relative_to(channel).parts) > MOST_NESTED:
            raise SettingsError(
                f"the channel 'model' has folders nested more than {MOST_NESTED} deep; provide a model folder"
            )
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            shown = printable(str(path.relative_to(channel)))
            if stat.S_ISLNK(mode) and not _target(path).is_relative_to(root):
                raise SettingsError(
                    f"the channel 'model' has a link that points outside it, {shown}; replace it with the file itself"
                )
            if stat.S_ISLNK(mode) and not path.exists():
                raise SettingsError(f"the channel 'model' has a broken link, {shown}; replace it with the file itself")
            if not (stat.S_ISLNK(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise SettingsError(
                    f"the channel 'model' has a pipe, socket or device, {shown}; provide a model folder of plain files"
                )


def _target(path: Path) -> Path:
    """What a link points to; itself for a loop of links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.parent.resolve() / path.name


def _with_config(root: Path) -> list[Path]:
    """The folders with a model: the root alone if it has one, else those below it."""
    found = sorted(path.parent for name in ("config.json", "adapter_config.json") for path in root.rglob(name))
    return [root] if root in found else sorted(set(found))


def _latest(folders: list[Path], root: Path, say: Callable[[str], None]) -> Path:
    """The checkpoint with the most steps. Raises SettingsError if the folders, which are below `root`, are others."""
    steps = {folder: _CHECKPOINT.fullmatch(folder.name) for folder in folders}
    if not all(steps.values()) or len({folder.parent for folder in folders}) > 1:
        names = listed([str(folder.relative_to(root)) for folder in folders])
        raise SettingsError(f"the channel 'model' has several models: {names}; give the folder of one of them")
    folder = max(folders, key=lambda folder: int(folder.name.rpartition("-")[2]))
    say(f"the channel 'model' has {len(folders)} checkpoints: the model is that of {folder.name}")
    return folder


def _unpacked(archive: Path) -> Path:
    """The content of a model.tar.gz in a temporary folder, which is removed when the process ends.

    Raises SettingsError for an archive that is damaged, holds anything but files and folders in their places, or needs
    more space than there is. (tarfile's filter="data" is missing from Debian 12's Python 3.11.2.)
    """
    temporary = tempfile.TemporaryDirectory(prefix="model-")
    _UNPACKED.append(temporary)
    folder = Path(temporary.name).resolve()
    space = shutil.disk_usage(folder).free
    try:
        for member, content in members(archive):
            target = (folder / member.name).resolve()
            space -= member.size
            if (content is None and not member.isdir()) or not target.is_relative_to(folder):
                raise SettingsError(
                    f"{archive.name} in the channel 'model' holds {printable(member.name)!r}, which is a link or "
                    "outside its folder; give the unpacked folder"
                )
            if space < 0:
                raise SettingsError(
                    f"{archive.name} in the channel 'model' needs more space than {tempfile.gettempdir()} has; "
                    "give the job a larger volume, or the unpacked folder"
                )
            if content is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        reason = printable(str(error))
        raise SettingsError(
            f"{archive.name} in the channel 'model' cannot be unpacked ({reason}); give the unpacked folder"
        ) from None
    return folder


@contextmanager
def no_pickles() -> Iterator[None]:
    """A context in which torch.load raises ValueError.

    Despite `use_safetensors`, transformers calls torch.load for .bin files named by a safetensors index, and for the
    file named by `transformers_weights` in config.json.
    """
    import torch  # not at the top: the data is prepared without it

    original = torch.load  # noqa: TID251
    torch.load = _refuse  # noqa: TID251
    try:
        yield
    finally:
        torch.load = original  # noqa: TID251


def _refuse(f: Any, *_: Any, **__: Any) -> Any:
    raise ValueError(f"{Path(f).name} is a pickle, which can run code when it is read")
