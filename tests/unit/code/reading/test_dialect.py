"""How a text file separates and quotes its fields."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import sys
from pathlib import Path
from text_classifier.reading.channel import read_texts
from text_classifier.reading.columns import Columns

print(sum(1 for _ in read_texts(Path(sys.argv[1]), Columns())))
"""

LONG = "word " * 40_000


@pytest.mark.parametrize("rows", [f'"{LONG}\nline 2"\ta\n"x\ny"\tb\n', f'"{LONG}\\"quoted\\", end",a\n"\\"x\\", y",b\n'])
def test_the_first_file_of_a_process_may_have_long_fields(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(("text\tlabel\n" if "\t" in rows else "text,label\n") + rows)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "2\n", done.stderr
