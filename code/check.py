#!/opt/venv/bin/python
"""The image's `check` command: reads the data as a job would, reports on it and trains nothing.

    python check.py reviews.tsv --label_column stars

Without a file or folder it reads the channels of the job.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from text_classifier.contract import redaction
from text_classifier.contract.errors import JobError, describe, scarce
from text_classifier.contract.parsing import from_arguments
from text_classifier.dataset import data_report
from text_classifier.dataset.load import read_data
from text_classifier.runtime.folders import job_folders
from text_classifier.runtime.heartbeat import working

USAGE = "check [FILE] [--name=value ...]"
DESCRIPTION = (
    "Check the rows of a file, of a folder, or without either of the job's channels, as a job would read them."
)


def main(arguments: list[str]) -> int:
    """Print the report, and write data_report.json to the output folder if there is one. Returns the exit code."""
    folders = job_folders()
    path = Path(arguments.pop(0)) if arguments and not arguments[0].startswith("-") else None
    try:
        settings = from_arguments(arguments, USAGE, DESCRIPTION)
        if path and not os.path.exists(path):  # Path.exists raises OSError for a name that is too long
            print(f"{path} does not exist; give the file or folder with the rows", file=sys.stderr)
            return 1
        with working("reading the data"):
            data = read_data({"train": path} if path else folders.data_channels(), settings)
        print(data_report.table(data.report, data.task))
        if folders.output_data.is_dir():
            data_report.write(folders.output_data, data.report)
    except Exception as error:
        if not isinstance(error, JobError) and not scarce(error):
            raise
        print(describe(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    redaction.install()
    sys.exit(main(sys.argv[1:]))
