"""Prepares the data of a host: reads, checks and tokenizes it, once for all its training processes.

    python prepare.py FOLDER --epochs 3

hook.py starts it together with the training processes, which import torch meanwhile, and then map the data in FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from text_classifier.contract import redaction
from text_classifier.contract.errors import JobError, SettingsError
from text_classifier.contract.parsing import from_arguments
from text_classifier.modeling import hub
from text_classifier.preparation.files import refuse
from text_classifier.preparation.rows import ROWS, prepare_rows
from text_classifier.reading.shards import Shards
from text_classifier.runtime.exchange import Exchange
from text_classifier.runtime.folders import JobFolders, job_folders
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import Stopped


def main(arguments: list[str]) -> int:
    """Prepare. Returns the exit code; the reason of a failure is in the failure file."""
    folders = job_folders()
    return folders.exit_code(lambda: _prepare(folders, Path(arguments[0]), arguments[1:]))


def _prepare(folders: JobFolders, folder: Path, arguments: list[str]) -> None:
    settings = from_arguments(arguments)
    hub.stay_offline_with(folders.channel("model"))
    shards = _shards(folders, folder)
    try:
        prepare_rows(folders, settings, folder, shards)
    except JobError as error:
        if shards is None:
            raise
        refuse(folder / ROWS, error)  # training tells the other hosts, and ends the job
        return
    except Stopped as error:
        refuse(folder / ROWS, error)  # ends the training processes that do not carry
        raise
    from text_classifier.modeling.tokenizer import load_tokenizer  # transformers, which reading does not wait for
    from text_classifier.preparation.tokens import TOKENS, prepare_tokens

    try:
        prepare_tokens(settings, load_tokenizer(folders.channel("model"), settings.model_name), folder)
    except SettingsError as error:
        refuse(folder / TOKENS, error)  # training checks the whole model, and may know the cause


def _shards(folders: JobFolders, folder: Path) -> Shards | None:
    """What reads the channels that are sharded across hosts; None if there are none."""
    configuration = folders.configuration
    channels = configuration.sharded_channels()
    return Shards(channels, Exchange(folder, Hosts.from_resources(configuration.resources()))) if channels else None


if __name__ == "__main__":
    redaction.install()
    # transformers then takes torch for missing: without it a tokenizer needs a third of the time and of the memory.
    sys.modules["torch"] = None  # type: ignore[assignment]
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(main(sys.argv[1:]))
