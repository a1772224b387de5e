"""Checks early, before a model is loaded, that the Hugging Face hub answers if the job needs it."""

from __future__ import annotations

import os
from pathlib import Path

from text_classifier.contract.errors import SettingsError

#: Per attempt. huggingface_hub makes six with pauses: it takes half a minute to report that there is no network.
ANSWER_SECONDS = 3.0
ATTEMPTS = 2


def stay_offline_with(channel: Path | None) -> None:
    """With a `model` channel, keep the hub's library off the network. Call it before that library is imported."""
    if channel is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"


def require_answer(model_name: str) -> None:
    """Raise SettingsError if the model is not on this machine and the hub does not answer.

    Any answer will do, errors included: transformers reports a missing or broken model itself.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    is_local = os.path.isdir(model_name) or constants.HF_HUB_OFFLINE
    try:
        if is_local or isinstance(try_to_load_from_cache(model_name, "config.json"), str):
            return
        url = hf_hub_url(model_name, "config.json")
        for _ in range(ATTEMPTS):
            try:
                get_hf_file_metadata(url, timeout=ANSWER_SECONDS)
                return
            except HfHubHTTPError:
                return
            except Exception as error:  # whatever the hub's HTTP library raises without an answer
                reason = error
    except HFValidationError:
        return
    raise SettingsError(
        f"model_name={model_name!r} cannot be loaded from the hub: {constants.ENDPOINT} does not answer ({reason}); "
        "give the job network access to it, or a `model` channel"
    )
