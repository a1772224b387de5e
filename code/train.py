"""The training script: fine-tunes a classifier on the job's channels.

    python train.py --epochs 3 --learning_rate 1e-4
    python train.py --check reviews.tsv --label_map "1-3=negative;4-5=positive"    # only checks the data

Input and output folders are SageMaker's (text_classifier/runtime/folders.py). Settings and data are checked before
torch is imported, so that a user's mistake shows within seconds.
"""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType

import check
from text_classifier.contract import redaction
from text_classifier.contract.errors import JobError, describe, print_traceback
from text_classifier.contract.parsing import from_arguments
from text_classifier.dataset import data_report
from text_classifier.dataset.load import read_data
from text_classifier.modeling import hub
from text_classifier.runtime.folders import job_folders
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.stop import Stopped


def main(arguments: list[str]) -> int:
    """Run the job. Returns the exit code; the reason of a failure is in the failure file."""
    if arguments[:1] == ["--check"]:
        return check.main(arguments[1:])
    folders = job_folders()
    try:
        settings = from_arguments(arguments)
        folders.require_writable_outputs()
        with working("reading the data"):
            data = read_data(folders.data_channels(), settings)
        if os.environ.get("RANK", "0") == "0":
            print(data_report.table(data.report, data.task), flush=True)
            data_report.write(folders.output_data, data.report)
        if folders.channel("model") is None:
            hub.require_answer(settings.model_name)
        else:
            os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported
        import_job().run(folders, settings, data)
    except Stopped as end:
        print(end, flush=True)
    except JobError as error:
        print(describe(error), file=sys.stderr, flush=True)
        folders.write_failure(error)
        return 1
    except Exception as error:
        print_traceback()
        folders.write_failure(error)
        return 1
    return 0


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
    sys.exit(main(sys.argv[1:]))
