#!/opt/venv/bin/python
"""The image's `check` command: reads the data as a job would, reports on it and trains nothing.

    python check.py reviews.tsv --label_column=stars

Without a file or folder it reads the channels of the job.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from text_classifier.contract import redaction
from text_classifier.contract.errors import JobError, SettingsError, describe, scarce
from text_classifier.contract.parsing import from_arguments
from text_classifier.contract.schema import DATA_REPORT, DataReport
from text_classifier.dataset import data_report
from text_classifier.dataset.load import read_data
from text_classifier.reading.permissions import stat_of
from text_classifier.runtime.folders import job_folders
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.stop import end_when_stopped

USAGE = "check [FILE] [--name=value ...]"
DESCRIPTION = (
    "Check the rows of a file, of a folder, or without either of the job's channels, as a job would read them."
)


def main(arguments: list[str]) -> int:
    """Print the report, and write data_report.json to the output folder if there is one. Returns the exit code.

    Where the file cannot be written, such as in a read-only container, a warning says so.
    """
    end_when_stopped()
    folders = job_folders()
    path = Path(arguments.pop(0)) if arguments and not arguments[0].startswith("-") else None
    try:
        settings = from_arguments(arguments, USAGE, DESCRIPTION)
        if path:
            found = stat_of(path)
            if not found:
                raise SettingsError(f"{path} does not exist; give the file or folder with the rows")
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise SettingsError(f"{path} is a pipe or a device; write its rows to a file")
        with working("reading the data"):
            data = read_data({"train": path} if path else folders.data_channels(), settings)
        print(data_report.table(data.report, data.task))
        if folders.output_data.is_dir():
            _write(folders.output_data, data.report)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not isinstance(error, JobError) and not scarce(error):
            raise
        print(describe(error), file=sys.stderr)
        return 1
    return 0


def _write(folder: Path, report: DataReport) -> None:
    try:
        data_report.write(folder, report)
    except OSError as error:
        print(f"WARNING: {folder / DATA_REPORT} cannot be written ({error.strerror})", file=sys.stderr)


if __name__ == "__main__":
    redaction.install()
    sys.exit(main(sys.argv[1:]))
