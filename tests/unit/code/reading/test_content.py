"""Decompressed content."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import feather, parquet

import check


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.csv.zst", "a.csv"])
def test_without_pyarrow_only_what_needs_it_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = b"text,label\n" + b"good,a\nbad,b\n" * 20
    path = tmp_path / name
    table = pyarrow.table({"text": ["good", "bad"] * 20, "label": ["a", "b"] * 20})
    match path.suffix:
        case ".parquet":
            parquet.write_table(table, path)
        case ".feather":
            feather.write_feather(table, path)
        case ".zst":
            path.write_bytes(pyarrow.compress(rows, codec="zstd", asbytes=True))
        case _:
            path.write_bytes(rows)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status = check.main([str(path)])
    refused = capsys.readouterr().err
    if name == "a.csv":
        assert status == 0 and not refused
    else:
        assert status == 1
        assert refused == f"The platform: {name} cannot be read without pyarrow; run `pip install pyarrow`\n"
