"""Prepares the data of a host: reads, checks and tokenizes it, once for all its training processes.

    python prepare.py FOLDER --epochs 3

hook.py starts it together with the training processes, which import torch meanwhile, and then map the data in FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from text_classifier.contract import redaction
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.parsing import from_arguments
from text_classifier.modeling import hub
from text_classifier.preparation.rows import prepare_rows
from text_classifier.runtime.folders import JobFolders, job_folders


def main(arguments: list[str]) -> int:
    """Prepare. Returns the exit code; the reason of a failure is in the failure file."""
    folders = job_folders()
    return folders.exit_code(lambda: _prepare(folders, Path(arguments[0]), arguments[1:]))


def _prepare(folders: JobFolders, folder: Path, arguments: list[str]) -> None:
    settings = from_arguments(arguments)
    hub.stay_offline_with(folders.channel("model"))
    prepare_rows(folders, settings, folder)
    from text_classifier.modeling.tokenizer import load_tokenizer  # transformers, which reading does not wait for
    from text_classifier.preparation.tokens import prepare_tokens, refuse_tokens

    try:
        prepare_tokens(settings, load_tokenizer(folders.channel("model"), settings.model_name), folder)
    except SettingsError as error:
        refuse_tokens(error, folder)  # training checks the whole model, and may know the cause


if __name__ == "__main__":
    redaction.install()
    # transformers then takes torch for missing: without it a tokenizer needs a third of the time and of the memory.
    sys.modules["torch"] = None  # type: ignore[assignment]
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(main(sys.argv[1:]))
