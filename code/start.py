#!/usr/bin/env -S --block-signal=TERM /opt/venv/bin/python
"""The image's `train` command: the toolkit's, with what the toolkit gets wrong before it calls hook.py put right.

The kernel drops a SIGTERM for a container's first process as long as nothing in it listens, and importing the toolkit
takes most of a second. The first line above has it blocked from the start: it waits until hook.py listens.
"""

from __future__ import annotations

import sys

from text_classifier.contract import hyperparameters, redaction
from text_classifier.contract.errors import JobError, PlatformError, describe
from text_classifier.runtime.folders import JobFolders, job_folders


def main() -> None:
    """Check the configuration, then let the toolkit take over. Exits with 0 or 1, nothing else."""
    redaction.install()
    folders = job_folders()
    try:
        folders.require_configuration()
        folders.require_writable_outputs()
        # Here, because the toolkit prints all hyperparameters: one that holds a secret must not get that far.
        hyperparameters.parse(folders.hyperparameters())
    except JobError as error:
        _fail(folders, error)
    _run_toolkit(folders)


def _run_toolkit(folders: JobFolders) -> None:
    from sagemaker_training.cli.train import main as train

    try:
        train()
    except SystemExit as end:
        folders.hand_over_success()
        # What goes wrong while the toolkit reports an error is swallowed by its `finally: sys.exit(0)`.
        if end.__context__ is not None:
            _fail(folders, PlatformError(f"the toolkit failed ({end.__context__!r}); start the job again"))
        sys.exit(1 if end.code else 0)


def _fail(folders: JobFolders, error: JobError) -> None:
    print(describe(error), file=sys.stderr, flush=True)
    folders.write_failure(error)
    sys.exit(1)


if __name__ == "__main__":
    main()
