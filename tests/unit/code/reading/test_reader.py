"""The columns that partition folders add to a file's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_need_a_column_of_their_own(channel: Callable[[str, str | bytes], Path], form: str) -> None:
    for lang, label in (("en", "pos"), ("de", "neg")):
        name, texts = f"lang={lang}/label={label}/part", [f"{lang} {number}" for number in range(4)]
        if form == "parquet":
            sink = pyarrow.BufferOutputStream()
            parquet.write_table(pyarrow.table({"body": texts}), sink)
            folder = channel(name, sink.getvalue().to_pybytes()).parents[1]
        elif form == "jsonl":
            folder = channel(name, "".join(json.dumps({"body": text}) + "\n" for text in texts)).parents[1]
        else:
            folder = channel(name, "body\n" + "\n".join(texts)).parents[1]
    assert set(read_data({"train": folder}, parse({"text_columns": "lang,body"})).classes) == {"neg", "pos"}
    with pytest.raises(DataError) as refused:
        read_data({"train": folder}, parse({"text_columns": "lang"}))
    assert str(refused.value) == (
        "train/lang=de/label=neg/part is read for the names of its folders only (lang, label), which are the same in "
        "all rows; set text_columns to one of its own columns: body"
    )
