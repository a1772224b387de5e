"""Safe loading of a model channel: safetensors and JSON only, from inside the channel, never a pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from text_classifier.contract.errors import SettingsError


def model_directory(channel: Path) -> Path:
    """The folder with config.json: the channel itself or a folder in it.

    Pickled weights next to safetensors are ignored, as people keep both. Raises SettingsError if there are only pickled
    weights, or if a link points outside the channel.
    """
    for path in sorted(channel.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(channel.resolve()):
            raise SettingsError(
                f"the channel 'model' has a link that points outside it, {path.relative_to(channel)}; replace it with "
                "the file itself"
            )
    folders = sorted(path.parent for path in channel.glob("**/config.json"))
    if not folders:
        raise SettingsError(
            "the channel 'model' has no config.json; provide a model folder as save_pretrained writes it: "
            "config.json, model.safetensors and the tokenizer's files"
        )
    if not list(folders[0].glob("*.safetensors")):
        raise SettingsError(
            "the channel 'model' has no .safetensors weights; save them with save_pretrained (pickled .bin and .pt "
            "files are not read, because they can run code)"
        )
    return folders[0]


@contextmanager
def no_pickles() -> Iterator[None]:
    """A context in which torch.load raises ValueError.

    Despite `use_safetensors`, transformers calls torch.load for .bin files named by a safetensors index, and for the
    file named by `transformers_weights` in config.json.
    """
    original = torch.load  # noqa: TID251
    torch.load = _refuse  # noqa: TID251
    try:
        yield
    finally:
        torch.load = original  # noqa: TID251


def _refuse(f: Any, *_: Any, **__: Any) -> Any:
    raise ValueError(f"{Path(f).name} is a pickle, which can run code when it is read")
