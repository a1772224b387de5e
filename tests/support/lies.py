"""Files whose metadata lie, read in a process with little memory."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

from support.bounded import run_bounded
from text_classifier.contract.errors import JobError, describe
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading.channel import read_texts
from text_classifier.reading.columns import Columns

SECONDS, MEMORY = 120, 3 << 29


def read_all(path: Path, **settings: str) -> str:
    """The number of rows of a file, read as a job does."""
    splits = read_data({"train": path.parent}, parse({"text_columns": "text", **settings})).splits
    return f"{sum(map(len, splits.values()))} rows"


def read_row_by_row(path: Path) -> str:
    """The same as `predict` reads them, without splits: much faster."""
    return f"{sum(1 for _ in read_texts(path, Columns(('text',), id='label')))} rows"


def outcomes(
    name: str, cases: Sequence[tuple[str, bytes]], folder: Path, read: Callable[[Path], str]
) -> dict[str, str]:
    """The number of rows, or the sentence, that reading each file ends with, by the name of the case."""
    path = folder / "train" / name
    path.parent.mkdir()

    def work() -> int:
        for label, content in cases:
            path.write_bytes(content)
            print(label, end="|", flush=True)
            try:
                print(read(path), flush=True)
            except JobError as error:
                print(describe(error), flush=True)
        return 0

    # A forked process begins with the resident memory of this one, in which many tests may have run.
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    ended = run_bounded(work, folder / "log", SECONDS, MEMORY)
    assert ended.code == 0 and ended.bytes - before < MEMORY, (ended.code, ended.bytes, ended.log[-2_000:])
    found = dict(line.split("|", 1) for line in ended.log.splitlines())
    sentence = re.compile(rf"\d+ rows|(Your data|The platform): .*{re.escape(name)}.*; .+|Your data: all texts.+; .+")
    assert {label: end for label, end in found.items() if not sentence.fullmatch(end)} == {}
    assert len(found) == len(cases)
    return found
