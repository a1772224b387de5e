"""The training script: fine-tunes a classifier on the job's channels.

    python train.py --epochs 3 --learning_rate 1e-4
    python train.py --check reviews.tsv --label_map="1-3=negative;4-5=positive"    # only checks the data

Input and output folders are SageMaker's (text_classifier/runtime/folders.py). The hook starts one process per GPU, and
prepare.py for all of them; this process then imports torch while the data is read. Without the hook it prepares the
data itself, before torch is imported, so that a user's mistake shows within seconds.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType, ModuleType

import check
from text_classifier.contract import redaction
from text_classifier.contract.parsing import from_arguments
from text_classifier.modeling import hub
from text_classifier.preparation.rows import prepare_rows
from text_classifier.runtime.cpus import thread_variables
from text_classifier.runtime.folders import PREPARED, JobFolders, job_folders
from text_classifier.runtime.scratch import scratch_folder


def main(arguments: list[str]) -> int:
    """Run the job. Returns the exit code; the reason of a failure is in the failure file."""
    if arguments[:1] == ["--check"]:
        return check.main(arguments[1:])
    folders = job_folders()
    return folders.exit_code(lambda: _train(folders, arguments))


def _train(folders: JobFolders, arguments: list[str]) -> None:
    settings = from_arguments(arguments)
    hub.stay_offline_with(folders.channel("model"))
    if PREPARED in os.environ:
        import_job().run(folders, settings, Path(os.environ[PREPARED]), tokenizes=False)
        return
    own = _own_folder()  # without the hook, this process prepares its data itself
    try:
        prepare_rows(folders, settings, own)
        import_job().run(folders, settings, own, tokenizes=True)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _own_folder() -> Path:
    """A temporary folder, which SIGTERM removes while it ends the process; StopSignal replaces this handler.

    Those of the hook have another prefix: they are not locked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    folder = scratch_folder("prepared-alone-")

    def end(number: int, frame: FrameType | None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return folder


def import_job() -> ModuleType:
    """Import job.py, and with it torch and transformers, which takes seconds.

    Without garbage collection: it would take a quarter of that time to search half a million objects that live as long
    as the process. They are frozen, so that later collections skip them too.
    """
    gc.disable()
    try:
        from text_classifier import job
    finally:
        gc.enable()
    gc.freeze()
    return job


if __name__ == "__main__":
    redaction.install()
    os.environ |= thread_variables() | os.environ  # read when torch is imported; those of the user and of hook.py win
    sys.exit(main(sys.argv[1:]))
