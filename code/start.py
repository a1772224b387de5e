#!/usr/bin/env -S --block-signal=TERM /opt/venv/bin/python
"""The image's `train` command: checks the job's configuration, then runs sagemaker-training.

The kernel drops a SIGTERM to a container's first process while it has no handler, and importing the toolkit takes most
of a second. The shebang blocks the signal, so it stays pending until hook.py installs its handler.
"""

from __future__ import annotations

import sys

from text_classifier.contract import parsing, redaction
from text_classifier.contract.errors import JobError, PlatformError, describe
from text_classifier.runtime.folders import JobFolders, job_folders


def main() -> None:
    """Check the configuration, then run the toolkit. The exit code is 0 or 1."""
    redaction.install()
    folders = job_folders()
    try:
        folders.require_configuration()
        folders.require_writable_outputs()
        # Before the toolkit, which prints all hyperparameters: one that looks like a secret is refused here.
        parsing.validate(folders.hyperparameters())
    except JobError as error:
        _fail(folders, error)
    _run_toolkit(folders)


def _run_toolkit(folders: JobFolders) -> None:
    from sagemaker_training.cli.train import main as train

    try:
        train()
    except SystemExit as end:
        folders.hand_over_success()
        # The toolkit's `finally: sys.exit(0)` swallows errors that occur while it reports another one.
        if end.__context__ is not None:
            _fail(folders, PlatformError(f"sagemaker-training failed ({end.__context__!r}); start the job again"))
        sys.exit(1 if end.code else 0)


def _fail(folders: JobFolders, error: JobError) -> None:
    print(describe(error), file=sys.stderr, flush=True)
    folders.write_failure(error)
    sys.exit(1)


if __name__ == "__main__":
    main()
