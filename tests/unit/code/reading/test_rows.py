# ruff: noqa: E501 - the tables have one file a line
from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from support.divided import found, workers
from support.labels import AnyLabels
from text_classifier.contract.errors import DataError
from text_classifier.reading.bad_rows import BadRows
from text_classifier.reading.channel import read_rows
from text_classifier.reading.columns import Columns
from text_classifier.reading.sources import source

Write = Callable[[str, str | bytes], Path]

AMAZON_TSV = (
    "marketplace\tcustomer_id\treview_id\tproduct_id\tproduct_parent\tproduct_title\tproduct_category\tstar_rating\t"
    "helpful_votes\ttotal_votes\tvine\tverified_purchase\treview_headline\treview_body\treview_date\n"
    'US\t1\tR1\tB1\t2\tA Book\tBooks\t5\t0\t0\tN\tY\tA "must\tread, it is 5" tall\t2015-08-31\n'
    "US\t2\tR2\tB1\t2\tA Book\tBooks\t1\t0\t0\tN\tY\t\tdull\t2015-08-31\n"
)
AMAZON_2018 = (
    '{"overall": 5.0, "verified": true, "reviewTime": "08 4, 2014", "reviewText": "read, it is 5\\" tall", '
    '"summary": "A \\"must"}\n{"overall": 1.0, "reviewText": "dull"}\n'
)
AMAZON_2023 = (
    '{"rating": 5.0, "title": "A \\"must", "text": "read, it is 5\\" tall", "images": [], "asin": "B1"}\n'
    '{"rating": 1.0, "title": "", "text": "dull", "images": [], "asin": "B1"}\n'
)
CSV = 'id,text,label\n1,"two\nlines, ""quoted""",5\n2,plain,1\n'
ROWS = [('two\nlines, "quoted"', "5"), ("plain", "1")]
JSON_LINES = "".join(json.dumps({"text": text, "label": int(label)}) + "\n" for text, label in ROWS)
JSON_ARRAY = json.dumps([{"text": text, "label": label} for text, label in ROWS], indent=1)
TSV = "text\tlabel\n" + "".join(f"row {n}\t{n % 2}\n" for n in range(100))


def parquet_file(columns: dict[str, Any], **options: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), sink, **options)
    return sink.getvalue().to_pybytes()


PARQUET = parquet_file({"text": [text for text, _ in ROWS], "label": [float(label) for _, label in ROWS]})


def read(folder: Path, text_columns: str = "", label_column: str = "", **options: Any) -> list[tuple[str, str]]:
    columns = Columns(tuple(text_columns.split(",")) if text_columns else (), label_column)
    rows, labels = read_rows(source(folder), columns, AnyLabels(), BadRows(skips=options.get("skips", False)))
    return list(zip(rows.texts[:], (labels.classes[code] for code in rows.targets), strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.replace("\n1", "\r\n1").replace("\n2", "\r\n2")),
        ("a.csv", CSV.replace("lines,", "lines;").replace(",", ";").replace("lines;", "lines,")),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv.zst", pyarrow.compress(CSV.encode(), codec="zstd", asbytes=True)),
        ("no-name", gzip.compress(CSV.encode(), mtime=0)),
        ("a.jsonl", JSON_LINES),
        ("a.json", JSON_LINES + "\n"),
        ("a.txt", "\ufeff \r\n" + JSON_LINES),
        ("deep/er/a.jsonl.gz", gzip.compress(JSON_LINES.encode(), mtime=0)),
        ("a.json", JSON_ARRAY),
        ("a.json.gz", gzip.compress(JSON_ARRAY.encode(), mtime=0)),
        ("a.parquet", PARQUET),
        ("a.parquet.gz", gzip.compress(PARQUET, mtime=0)),
        ("part-0", parquet_file({"label": ["5", "1"], "text": pyarrow.array([ROWS[0][0], "plain"]).dictionary_encode()})),
    ],
)  # fmt: skip
def test_each_format_gives_the_same_rows(channel: Write, name: str, content: str | bytes) -> None:
    channel(name, content)
    channel("_SUCCESS", "")
    assert read(channel(".hidden", "ignored")) == ROWS


@pytest.mark.parametrize("content", [AMAZON_TSV, AMAZON_2018, AMAZON_2023])
def test_the_amazon_files_need_no_hyperparameter_and_a_lone_quote_is_text(channel: Write, content: str) -> None:
    rows = read(channel("reviews.txt", content))
    assert rows == [('A "must read, it is 5" tall', "5"), ("dull", "1")]


def test_files_are_read_in_the_order_of_their_names(channel: Write) -> None:
    channel("b.tsv", "text\tlabel\nsecond\t1\n")
    assert [text for text, _ in read(channel("a.tsv", "text\tlabel\nfirst\t1\n"))] == ["first", "second"]


def test_columns_can_be_named(channel: Write) -> None:
    folder = channel("a.csv", "title,body,stars\nT,B,4\n")
    assert read(folder, "title,body", "stars") == [("T B", "4")]
    assert read(folder / "a.csv", "title", "stars") == [("T", "4")]


def test_a_row_knows_its_place_in_each_format(channel: Write) -> None:
    channel("1.csv", CSV)
    channel("2.parquet", PARQUET)
    rows, _ = read_rows(source(channel("3.jsonl", "\n" + JSON_LINES)), Columns(), AnyLabels(), BadRows(skips=False))
    assert rows.places[:] == [
        "train/1.csv line 2", "train/1.csv row 3 (line 4)", "train/2.parquet row 1", "train/2.parquet row 2",
        "train/3.jsonl line 2", "train/3.jsonl line 3",
    ]  # fmt: skip
    assert rows.take(np.array([5, 0])).take(np.array([1])).places[:] == ["train/1.csv line 2"]
    assert rows.take(np.array([5, 0])).texts[0] == "plain"


NOT_UTF8 = "text,label\na,1\ncaf\xe9,1\n".encode("latin-1")
WIDE = "\t".join(f"column{n}" for n in range(50)) + "\n"

MALFORMED: list[tuple[str, str | bytes, str]] = [
    ("a.csv", "txt,label\na,1\n", "train/a.csv has no column 'review_headline,review_body' or 'summary,reviewText' or "
     "'text'; did you mean 'txt'? set text_columns to one of its columns: txt, label"),
    ("a.csv", "text,lable\na,1\n", "train/a.csv has no column 'star_rating' or 'overall' or 'rating' or 'label'; did you "
     "mean 'lable'? set label_column to one of its columns: text, lable"),
    ("a.tsv", "good book\t5\nbad\t1\n", "train/a.tsv has no header: its first line is a row (good book, 5); add one, or set "
     "has_header=false and columns=text,label"),
    ("a.tsv", WIDE + "x\n", "train/a.tsv has no column 'review_headline,review_body'"),
    ("a.csv", "", "the channel 'train' has no files with rows, only a.csv (empty); add a CSV"),
    ("a.csv", "\n\r\n", "train/a.csv has no rows"),
    ("a.csv", "text,label\n", "train/a.csv has no rows"),
    ("a.csv.gz", gzip.compress(b"", mtime=0), "train/a.csv.gz has no rows"),
    ("a.json", "[]", "train/a.json has no rows"),
    ("a.json", "{}", "train/a.json has no column 'review_headline,review_body' or"),
    ("a.parquet", parquet_file({"text": pyarrow.array([], pyarrow.string()), "label": []}), "train/a.parquet has no rows"),
    ("a.tsv", "text\tlabel\na\n", "train/a.tsv line 2 has 1 field, the header has 2; fix or remove the row"),
    ("a.tsv", "text\tlabel\na\tb\t1\nc\t1\nd\na\tb\t1\n\t\t\n", "train/a.tsv line 2 has 3 fields, the header has 2; fix or "
     "remove the row; also train/a.tsv line 4 has 1 field, the header has 2; also train/a.tsv line 5 has 3 fields"),
    ("a.csv", "text,label\na,1\nb,1,2\n", "train/a.csv line 3 has 3 fields, the header has 2"),
    ("a.csv", "text,label\na,1\nb", "train/a.csv line 3 has 1 field, the header has 2"),
    ("a.csv", "text,text,label\na,b,1\n", "train/a.csv has two columns named 'text'; rename one of them"),
    ("a.tsv", "text\tlabel\tlabel \na\t1\t1\n", "train/a.tsv has two columns named 'label'"),
    ("a.csv", 'text,label\n"never closed,1\nb,1\n', "train/a.csv line 2 is not CSV (a quote opened here is never "
     "closed); quote such fields and double the quotes in them"),
    ("a.csv", 'text,label\na,1\n"he said "no"",1\n', "train/a.csv line 3 is not CSV (a quote is closed in the middle of a "
     "field); quote such fields"),
    ("a.csv", '"text,label\na,1\n', "train/a.csv line 1, the header, is not CSV (a quote opened here is never"),
    ("a.csv", "text,label\na\rb,1\n", "train/a.csv line 2 is not CSV (an unquoted field contains a carriage return)"),
    ("a.csv", "text,label\ra,1\rb,1\r", "train/a.csv has lines that end with only a carriage return; convert them"),
    ("a.csv", "text,label\na,\n", "train/a.csv line 2 has no value in column 'label'; fill it in or remove the row"),
    ("a.csv", "text,label\na, \nb,1\nc,\nd,\n", "train/a.csv line 2 has no value in column 'label'; fill it in or remove "
     "the row; also train/a.csv line 4 has no value in column 'label'; also train/a.csv line 5 has no"),
    ("a.csv", f"text,label\na,{'x' * 300}\n", "train/a.csv line 2 has 300 characters in column 'label'; a label or group has"),
    ("a.csv", NOT_UTF8, "train/a.csv line 3 is not UTF-8 in column 'text' (byte 0xe9); set encoding=windows-1252 if a Windows"),
    ("a.jsonl", b'{"text": "a\xff", "label": 1}', "train/a.jsonl line 1 is not UTF-8 in column 'text' (byte 0xff)"),
    ("a.csv", "text,label\na,1\n".encode("utf-16-le"), "train/a.csv seems to be UTF-16 without a byte order mark; set encoding=utf-16-le"),
    ("a.csv", "text,label\na,1\n".encode("utf-16-be"), "train/a.csv seems to be UTF-16 without a byte order mark; set encoding=utf-16-be"),
    ("a.csv", "text,label\na\0b,1\n", "train/a.csv line 2 has a NUL character in column 'text'; fix or remove the row"),
    ("a.tsv", "text\tlabel\nab\t1\0\n", "train/a.tsv line 2 has a NUL character in column 'label'"),
    ("a.bin", b"\x7fELF\x02\x01\x01" + b"x" * 99, "train/a.bin has control characters in its first line; give a CSV, TSV,"),
    ("a.tsv", "text\tlabel\n" + "x" * 10_000_001 + "\t1\n", "train/a.tsv line 2 has more than 10,000,000 characters in "
     "column 'text'"),
    ("a.csv", 'text,label\n"' + "x\n" * 5_100_000 + '",1\n', "train/a.csv line 2 is not CSV (a quote opened here is "
     "not closed within 10,000,000 characters)"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"\n', "train/a.jsonl line 2 is not JSON (Expecting ',' delimiter"),
    ("a.jsonl", '{"text": "a", "label": 1}\n[1]\n', "train/a.jsonl line 2 is not a JSON object; write one JSON object"),
    ("a.json", "[1]\n", "train/a.json row 1 is not a JSON object; write one JSON object per row"),
    ("a.json", '[{"text": "a", "label": 1}, {"text": "b', "train/a.json is truncated in row 2; upload it again"),
    ("a.json", '[{"text": "a", "label": 1}, {"text": b}]', "train/a.json row 2 is not JSON (Expecting value"),
    ("a.json", '[{"text": "a", "label": 1}] [', "train/a.json has content after the JSON array"),
    ("a.json", '[{"text": "a", "label": 1} {', "train/a.json row 1 is not JSON (expecting ',', found '{')"),
    ("a.jsonl", "[" * 100_000, "train/a.jsonl row 1 is not JSON (maximum recursion depth"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', "train/a.jsonl line 2 has no field 'label'"),
    ("a.jsonl", '{"text": ["a"], "label": 1}\n', "train/a.jsonl line 1 has a list in column 'text'; replace it with a text or a number"),
    ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', "train/a.jsonl line 1 has an unpaired surrogate in column 'text'"),
    ("a.jsonl", '{"text": "a", "label": NaN}\n', "train/a.jsonl line 1 has no value in column 'label'"),
    ("a.tsv.gz", gzip.compress(TSV.encode(), mtime=0)[:-9], "train/a.tsv.gz is truncated: its gzip stream does not end; upload it"),
    ("a.tsv.gz", gzip.compress(TSV.encode(), mtime=0)[:40] + b"?" * 40, "train/a.tsv.gz cannot be read (Error -3 while decompressing"),
    ("a.tsv.zst", pyarrow.compress(TSV.encode(), codec="zstd", asbytes=True)[:-9], "train/a.tsv.zst cannot be read ("),
    ("a.parquet", PARQUET[:-20], "train/a.parquet cannot be read as Parquet ("),
    ("a.parquet", b"PAR1", "train/a.parquet cannot be read as Parquet ("),
    ("a.parquet", parquet_file({"text": ["a"], "label": [None]}), "train/a.parquet row 1 has no value in column 'label'"),
    ("a.parquet", parquet_file({"text": [b"\xff"], "label": [1]}), "train/a.parquet row 1 is not UTF-8 in column 'text'"),
    ("a.xlsx", b"PK\x03\x04" + b"\0" * 99, "train/a.xlsx is a zip archive; unpack or convert it"),
    ("a.tar.gz", gzip.compress(b"a.csv".ljust(257, b"\0") + b"ustar\x0000", mtime=0), "train/a.tar.gz is a tar archive; unpack or"),
    ("a.csv.bz2", b"BZh91AY&SY", "train/a.csv.bz2 is compressed with bzip2; unpack or"),
    ("a.csv.gz.gz", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "train/a.csv.gz.gz is compressed twice; unpack or"),
    (".hidden", "x", "the channel 'train' has no files with rows, only .hidden; add a CSV, TSV, JSON or Parquet file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "sentence"), MALFORMED, ids=[sentence[:60] for _, _, sentence in MALFORMED]
)
def test_a_bad_file_is_one_sentence(channel: Write, name: str, content: str | bytes, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read(channel(name, content))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(*rest, id=sentence[:60]) for *rest, sentence in MALFORMED if len(rest[1]) < 1e6]
)
def test_a_bad_file_is_the_same_sentence_for_any_number_of_workers(
    channel: Write, name: str, content: str | bytes
) -> None:
    folder = channel(name, content)
    expected = found(folder)
    for count in (2, 3, 7):
        with workers(count, part=8):
            assert found(folder) == expected


@pytest.mark.parametrize(
    "compress", [lambda data: gzip.compress(data, mtime=0), lambda data: PARQUET], ids=["gzip", "parquet"]
)
def test_a_file_cut_at_any_byte_is_refused(channel: Write, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(b"text\tlabel\na\t1\nb\t2\n")
    for end in range(1, len(whole), 1 if len(whole) < 100 else 5):
        with pytest.raises(DataError, match="train/a"):
            read(channel("a", whole[:end]))


def test_a_link_out_of_the_channel_is_refused(channel: Write, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.tsv").write_text(TSV)
    folder = channel("a.tsv", TSV)
    for target in (outside, outside / "b.tsv", tmp_path / "missing"):
        (folder / "link").symlink_to(target)
        with pytest.raises(DataError, match="train/link is a link out of the channel or to a folder; replace it"):
            read(folder)
        (folder / "link").unlink()


def test_a_name_that_is_not_utf8_is_printable(channel: Write) -> None:
    folder = channel("a.tsv", "text\tlabel\n")
    os.rename(folder / "a.tsv", os.fsencode(folder) + b"/\xff.tsv")
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(caught.value).encode().startswith(b"train/\\udcff.tsv has no rows")


def test_bad_rows_are_skipped_up_to_one_in_a_hundred(channel: Write) -> None:
    folder = channel("a.tsv", TSV + "short\n")
    assert len(read(folder, skips=True)) == 100
    channel("b.tsv", "text\tlabel\na\t1\nshort\n")
    with pytest.raises(DataError) as caught:
        read(folder, skips=True)
    assert str(caught.value) == (
        "train/a.tsv line 102 has 1 field, the header has 2; fix or remove the row; also train/b.tsv line 3 has 1 "
        "field, the header has 2; bad_rows=skip accepts up to 1 % bad rows, and train has 2 (1.9%)"
    )


def test_an_open_quote_takes_no_other_row_along(channel: Write) -> None:
    rows = "".join(f"row {n},{n % 2}\n" for n in range(200))
    found = read(channel("a.csv", f'text,label\n"open,1\n{rows}'), skips=True)
    assert [text for text, _ in found] == [f"row {n}" for n in range(200)]


def test_a_bad_row_among_100_000_is_found_in_10_seconds(channel: Write) -> None:
    rows = "".join(f"{'a fine book ' * 40}{n}\t{n % 5 + 1}\n" for n in range(100_000))
    folder = channel("a.tsv.gz", gzip.compress(f"text\tlabel\n{rows}short\n".encode(), 1, mtime=0))
    started = time.process_time()
    with pytest.raises(DataError, match="line 100002 has 1 field"):
        read(folder)
    assert time.process_time() - started < 10
