"""Whether the Hugging Face hub answers, as far as a job needs it; before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from text_classifier.contract.errors import SettingsError

#: Of one attempt. The hub's own library makes six, with pauses: half a minute until it says that there is no network.
ANSWER_SECONDS = 3.0
ATTEMPTS = 2


def require_answer(model_name: str) -> None:
    """Raise SettingsError when the model is not on this machine and the hub does not answer.

    What it answers does not matter here: transformers says what is wrong with a model, or finds that there is none.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    is_here = Path(model_name).is_dir() or constants.HF_HUB_OFFLINE
    try:
        if is_here or isinstance(try_to_load_from_cache(model_name, "config.json"), str):
            return
        url = hf_hub_url(model_name, "config.json")
        for _ in range(ATTEMPTS):
            try:
                get_hf_file_metadata(url, timeout=ANSWER_SECONDS)
                return
            except HfHubHTTPError:
                return
            except Exception as error:  # of the HTTP library, whichever the hub's has: there was no answer
                reason = error
    except HFValidationError:
        return
    raise SettingsError(
        f"model_name={model_name!r} cannot be loaded from the hub: {constants.ENDPOINT} does not answer ({reason}); "
        "let the job reach it, or give it a `model` channel"
    )
