#!/usr/bin/env -S --block-signal=TERM /opt/venv/bin/python
"""The image's `train` command: checks the job's configuration, then runs sagemaker-training.

The kernel drops a SIGTERM to a container's first process while it has no handler, and importing the toolkit takes most
of a second. The shebang blocks the signal, so it stays pending until hook.py installs its handler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from text_classifier.contract import parsing, redaction
from text_classifier.contract.errors import JobError, PlatformError, SettingsError, describe, printable
from text_classifier.runtime import toolkit
from text_classifier.runtime.cpus import require_threads
from text_classifier.runtime.folders import JobFolders, job_folders
from text_classifier.runtime.hosts import require_equal_gpus
from text_classifier.runtime.user_script import UserScript

HELP = """\
usage: train

Trains a text classifier as a SageMaker training job. It takes no arguments: SageMaker mounts the job's hyperparameters
(input/config/hyperparameters.json) and channels (input/data/train and so on), and `launch.py local` does the same on
this machine. `check FILE --name=value ...` checks data without a job.
"""

#: The toolkit's environment variable for its log level.
_LOG_LEVEL = "SAGEMAKER_CONTAINER_LOG_LEVEL"


def main(arguments: Sequence[str]) -> None:
    """Check the configuration, then run the toolkit. The exit code is 0 or 1."""
    redaction.install()
    if set(arguments) & {"-h", "--help"}:
        print(HELP, end="")
        return
    folders = job_folders()
    try:
        folders.clear_outcome()
        _require_no_arguments(arguments)
        configuration = folders.configuration
        configuration.require()
        require_equal_gpus(configuration.resources())
        folders.require_writable_outputs()
        if UserScript.of_job(folders) is None:
            # Before the toolkit, which prints all hyperparameters: one that looks like a secret is refused here.
            parsing.parse(configuration.hyperparameters())
            require_threads()
            if ignored := folders.ignored_channels():
                print(f"Channels of the SageMaker SDK, which training ignores: {', '.join(ignored)}", flush=True)
    except JobError as error:
        _fail(folders, error)
    _run_toolkit(folders)


def _require_no_arguments(arguments: Sequence[str]) -> None:
    """Raise SettingsError for arguments, which nobody would read.

    `train` alone is what SageMaker appends to an ENTRYPOINT that a derived image may have.
    """
    if arguments and list(arguments) != ["train"]:
        raise SettingsError(
            f"`train` takes no arguments, and got {printable(arguments[0])!r}; set hyperparameters in the job's request"
        )


def _run_toolkit(folders: JobFolders) -> None:
    from sagemaker_training import environment
    from sagemaker_training.cli.train import main as train

    configuration = folders.configuration
    given = toolkit.hyperparameters(configuration.all_hyperparameters())
    environment.read_hyperparameters = lambda: given
    environment.read_resource_config = configuration.resources
    environment.read_input_data_config = configuration.channels
    if not os.environ.get(_LOG_LEVEL, "0").isdecimal():
        del os.environ[_LOG_LEVEL]
    try:
        train()
    except SystemExit as end:
        folders.hand_over_success()
        # The toolkit's `finally: sys.exit(0)` swallows errors that occur while it reports another one.
        if end.__context__ is not None:
            _fail(folders, PlatformError(f"sagemaker-training failed ({end.__context__!r}); start the job again"))
        if reason := toolkit.own_failure(folders.failure() or ""):
            folders.clear_outcome()
            _fail(folders, PlatformError(f"sagemaker-training failed ({reason}); start the job again"))
        sys.exit(1 if end.code else 0)


def _fail(folders: JobFolders, error: JobError) -> None:
    print(describe(error), file=sys.stderr, flush=True)
    folders.write_failure(error)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
