#!/opt/venv/bin/python
"""Reads the reviews of a job and says what they are: everything that is checked before a model is loaded.

    python check.py reviews.tsv --label_column stars

The image's `check` command. Without a file or folder it reads the channels of the job, as training would.
"""

from __future__ import annotations

import sys
from pathlib import Path

import datareport
import redaction
from contract import contract
from data import read_data
from failures import JobError, describe
from hyperparameters import from_arguments


def main(arguments: list[str]) -> int:
    """Print the table, and leave data_report.json where a job's output goes. Returns the exit code."""
    job = contract()
    try:
        if arguments and not arguments[0].startswith("-"):
            path = Path(arguments.pop(0))
            if not path.exists():
                print(f"{path} does not exist; give the file or folder of the reviews", file=sys.stderr)
                return 1
            channels = {"train": path}
        else:
            channels = job.data_channels()
        data = read_data(channels, from_arguments(arguments))
    except JobError as error:
        print(describe(error), file=sys.stderr)
        return 1
    print(datareport.table(data.report, data.task))
    if job.output_data.is_dir():
        datareport.write(job.output_data, data.report)
    return 0


if __name__ == "__main__":
    redaction.install()
    sys.exit(main(sys.argv[1:]))
