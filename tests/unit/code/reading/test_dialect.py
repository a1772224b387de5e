"""How a text file separates and quotes its fields."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from text_classifier.reading.dialect import Dialect, detect

READ = """
import sys
from pathlib import Path
from text_classifier.reading.channel import read_texts
from text_classifier.reading.columns import Columns

print(sum(1 for _ in read_texts(Path(sys.argv[1]), Columns())))
"""

LONG = "word " * 40_000


@pytest.mark.parametrize(
    "rows", [f'"{LONG}\nline 2"\ta\n"x\ny"\tb\n', f'"{LONG}\\"quoted\\", end",a\n"\\"x\\", y",b\n']
)
def test_the_first_file_of_a_process_may_have_long_fields(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(("text\tlabel\n" if "\t" in rows else "text,label\n") + rows)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "2\n", done.stderr


def as_tsv(texts: list[str], quoting: Literal[0, 1]) -> list[str]:
    out = io.StringIO()
    csv.writer(out, delimiter="\t", quoting=quoting, lineterminator="\n").writerows(
        [("text", "label"), *((text, "a") for text in texts)]
    )
    return out.getvalue().split("\n")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("text", ['Hi\nhe said "fine" to me\nbye', '1\n2 "3\t4" 5\n6', 'a 5" disk\nand a 3" one'])
def test_lines_within_quotes_do_not_tell_how_fields_are_quoted(text: str, quoting: Literal[0, 1]) -> None:
    assert detect(as_tsv(["plain", text] * 5, quoting), "") == Dialect("\t")


@pytest.mark.parametrize("text", ['a 5" disk', 'said "so"', '"so" he said', '"a" and "b"'])
def test_quotes_that_no_writer_of_quotes_would_write_are_text(text: str) -> None:
    lines = [*as_tsv(["two\nlines"] * 5, csv.QUOTE_MINIMAL)[:-1], f"{text}\ta"]
    assert not detect(lines, "").is_quoted
