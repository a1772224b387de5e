"""Small files that decode to more than the disk or the memory holds: refused in one sentence, within little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import feather, ipc, parquet

from support.lies import outcomes, read_row_by_row
from text_classifier.contract.errors import DataError, PlatformError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import bounds
from text_classifier.reading.channel import read_texts
from text_classifier.reading.columns import Columns

ROWS = 200_000

#: One long string, and a column of which all rows refer to it.
LONG = pyarrow.array(["word " * 200_000])
REPEATED = pyarrow.DictionaryArray.from_arrays(np.zeros(ROWS, np.int32), LONG)
LABELS = pyarrow.DictionaryArray.from_arrays(np.arange(ROWS, dtype=np.int32) % 2, pyarrow.array(["a", "b"]))

#: The first row has a list of nearly all long strings.
LISTS = pyarrow.ListArray.from_arrays(np.array([0, *[ROWS - 1_000] * 1_000, ROWS], np.int32)[:1_002], REPEATED)


def few(rows: int) -> Any:
    return LABELS[:rows]


def parquet_file(path: Path, columns: dict[str, Any], **options: Any) -> None:
    parquet.write_table(pyarrow.table(columns), path, compression="zstd", **options)


def arrow_file(path: Path, columns: dict[str, Any]) -> None:
    table = pyarrow.table(columns)
    with ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def views() -> Any:
    """Views of one string in its buffer."""
    view = np.array([(5_000, int.from_bytes(b"word", "little"), 0, 0)] * ROWS, np.int32)
    text = pyarrow.py_buffer(b"word " * 1_000)
    return pyarrow.Array.from_buffers(pyarrow.string_view(), ROWS, [None, pyarrow.py_buffer(view), text])


def bombs(folder: Path) -> None:
    """Write files, each of less than 5 MB, that decode to at least 100 MB."""
    big = {"dictionary_pagesize_limit": 1 << 30}
    parquet_file(folder / "dictionary", {"text": REPEATED, "label": LABELS}, **big)
    parquet_file(folder / "ids", {"text": LABELS, "label": LABELS, "id": REPEATED}, **big)
    parquet_file(
        folder / "struct", {"of": pyarrow.StructArray.from_arrays([REPEATED], ["text"]), "label": LABELS}, **big
    )
    parquet_file(folder / "list", {"text": few(1_001), "label": LISTS}, **big)
    alike = pyarrow.array(["word " * 20_000]).take(pyarrow.array(np.zeros(1_000, np.int32)))
    parquet_file(
        folder / "delta", {"text": alike, "label": few(1_000)}, use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
    )  # fmt: skip
    parquet_file(
        folder / "page", {"text": alike, "label": few(1_000)}, use_dictionary=["label"], data_page_size=1 << 30
    )
    arrow_file(folder / "arrow", {"text": REPEATED, "label": LABELS})
    feather.write_feather(pyarrow.table({"text": alike, "label": few(1_000)}), folder / "feather", compression="zstd")
    arrow_file(folder / "list arrow", {"text": few(1_001), "label": LISTS})
    arrow_file(folder / "views", {"text": views(), "label": LABELS})
    runs = pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([ROWS], pyarrow.int32()), LONG)
    arrow_file(folder / "runs", {"text": runs, "label": LABELS})


READ = """
import sys
from pathlib import Path
from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import bounds

bounds.ALWAYS, bounds.TIMES = 1 << 26, 10
for path in sorted(Path(sys.argv[1]).iterdir()):
    settings = {"id_column": "id"} if path.name == "ids" else {}
    settings |= {"text_columns": "of.text"} if path.name == "struct" else {"text_columns": "text"}
    settings |= {"task": "multi_label"} if "list" in path.name else {}
    try:
        read_data({"train": path}, parse({"label_column": "label", **settings}))
    except DataError as error:
        # Not ru_maxrss, which begins with that of the process that started this one.
        peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
        print(path.name, int(peak) >> 10, error, sep="|")
"""


def test_bombs_are_refused_within_little_memory(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    bombs(folder)
    assert all(path.stat().st_size < 5 << 20 for path in folder.iterdir())
    variables = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = [line.split("|") for line in done.stdout.splitlines()]
    assert [name for name, _, _ in found] == sorted(path.name for path in folder.iterdir())
    for name, _, sentence in found:
        expected = "has a row of 199,000,000,001 bytes" if "list" in name else "decodes to more than 10 times its size"
        assert expected in sentence, (name, sentence)
    assert int(found[-1][1]) < 1_500, found  # MB


def test_more_rows_than_the_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pyarrow.table({"text": LABELS, "label": LABELS})
    with parquet.ParquetWriter(tmp_path / "a.parquet", table.schema) as file:
        for _ in range(3):
            file.write_table(table)
    monkeypatch.setattr(bounds, "memory_limit", lambda: 80_000_000)
    with pytest.raises(PlatformError, match=r"600,000 rows, which need 0.1 GB of memory, and there are 0.1 GB; use"):
        read_data({"train": tmp_path}, parse({}))
    assert next(read_texts(tmp_path / "a.parquet", Columns())).text == "a"  # row by row they need no memory


def test_alike_rows_of_a_plain_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ALWAYS", 0)
    (tmp_path / "a.csv").write_text("text,label\n" + "alike,1\nalike,2\n" * 1_000)
    assert len(read_data({"train": tmp_path}, parse({})).splits["train"]) > 1_000
    monkeypatch.setattr(bounds, "TIMES", 0)
    with pytest.raises(DataError, match="a.csv decodes to more than 0 times its size, .* not compressed"):
        read_data({"train": tmp_path}, parse({}))


def test_many_rows_of_few_long_texts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of texts that are each paired with all labels: zstd writes them to a 700th of their size."""
    monkeypatch.setattr(bounds, "ALWAYS", 0)
    random = np.random.default_rng(0)
    texts = [random.bytes(1_000).hex() for _ in range(20)]
    rows = {"text": np.repeat(texts, 600), "label": LABELS[:12_000]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "a.parquet", compression="zstd")
    size = (tmp_path / "a.parquet").stat().st_size
    assert 400 < 12_000 * 2_000 / size < 1_000
    assert sum(map(len, read_data({"train": tmp_path}, parse({})).splits.values())) == 12_000


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_any_byte_of_a_header_or_trailer_may_lie(codec: str, tmp_path: Path) -> None:
    """A frame of zstd has its decompressed size and that of its window, a member of gzip has its size at the end."""
    rows = "text,label\n" + "".join(f"row {number} is good,{number % 2}\n" for number in range(200))
    content = pyarrow.compress(rows.encode(), codec=codec, asbytes=True)
    cases = [
        (f"{place} {byte}", content[:place] + bytes([byte]) + content[place + 1 :])
        for place in (*range(18), *range(len(content) - 8, len(content)))
        for byte in (0, 1, 0x20, 0x7F, 0xA0, 0xC0, 0xE0, 0xFF)
    ]
    found = outcomes("a.csv.bin", cases, tmp_path, read_row_by_row)
    assert {end for end in found.values() if end.endswith(" rows")} == {"200 rows"}
