"""Which files of a model are read: safetensors and JSON, from within the channel, and never a pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from text_classifier.contract.errors import SettingsError


def model_directory(channel: Path) -> Path:
    """The folder with config.json: the channel itself or the one folder in it that has it.

    Pickled weights beside safetensors are left unread, as people keep both. Raises SettingsError when there are only
    pickled ones, or a link leads out of the channel.
    """
    for path in sorted(channel.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(channel.resolve()):
            raise SettingsError(
                f"the channel 'model' has a link that leads out of it, {path.relative_to(channel)}; put the file "
                "itself in its place"
            )
    found = sorted(path.parent for path in channel.glob("**/config.json"))
    if not found:
        raise SettingsError(
            "the channel 'model' holds no config.json; give it a model folder as save_pretrained writes it: "
            "config.json, model.safetensors and the tokenizer's files"
        )
    if not list(found[0].glob("*.safetensors")):
        raise SettingsError(
            "the channel 'model' holds no .safetensors weights; save them with save_pretrained (pickled .bin and .pt "
            "files can run code when read, so they are not)"
        )
    return found[0]


@contextmanager
def no_pickles() -> Iterator[None]:
    """Within, torch.load raises ValueError.

    transformers calls it, whatever `use_safetensors` says, for the .bin files that an index of safetensors names, and
    for the one that `transformers_weights` in config.json may name.
    """
    before = torch.load  # noqa: TID251
    torch.load = _refuse  # noqa: TID251
    try:
        yield
    finally:
        torch.load = before  # noqa: TID251


def _refuse(file: Any, *_: Any, **__: Any) -> None:
    raise ValueError(f"{Path(file).name} is a pickle, which can run code when it is read")
