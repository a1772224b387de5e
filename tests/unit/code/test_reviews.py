from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import reviews
from failures import DataError

Write = Callable[[str, str | bytes], Path]

AMAZON_TSV = (
    "marketplace\tcustomer_id\treview_id\tproduct_id\tproduct_parent\tproduct_title\tproduct_category\tstar_rating\t"
    "helpful_votes\ttotal_votes\tvine\tverified_purchase\treview_headline\treview_body\treview_date\n"
    'US\t1\tR1\tB1\t2\tA Book\tBooks\t5\t0\t0\tN\tY\tA "must\tread, it is 5" tall\t2015-08-31\n'
    "US\t2\tR2\tB1\t2\tA Book\tBooks\t1\t0\t0\tN\tY\t\tdull\t2015-08-31\n"
)
CSV = 'id,text,label\n1,"two\nlines, ""quoted""",5\n2,plain,1\n'
ROWS = [('two\nlines, "quoted"', "5"), ("plain", "1")]
JSON_LINES = "".join(json.dumps({"text": text, "label": int(label)}) + "\n" for text, label in ROWS)


def read(folder: Path, text_columns: str = "", label_column: str = "") -> list[tuple[str, str]]:
    rows = reviews.read(folder, text_columns, label_column)
    return list(zip(rows.texts, rows.labels, strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.replace("\n1", "\r\n1").replace("\n2", "\r\n2")),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.jsonl", JSON_LINES),
        ("a.json", JSON_LINES + "\n"),
        ("deep/er/a.jsonl.gz", gzip.compress(JSON_LINES.encode())),
    ],
)
def test_each_format_gives_the_same_rows(channel: Write, name: str, content: str | bytes) -> None:
    channel(name, content)
    assert read(channel(".hidden", "ignored")) == ROWS


def test_the_amazon_files_need_no_hyperparameter_and_a_lone_quote_is_text(channel: Write) -> None:
    rows = read(channel("reviews.tsv", AMAZON_TSV))
    assert rows == [('A "must read, it is 5" tall', "5"), ("dull", "1")]


def test_files_are_read_in_the_order_of_their_names(channel: Write) -> None:
    channel("b.tsv", "text\tlabel\nsecond\t1\n")
    assert [text for text, _ in read(channel("a.tsv", "text\tlabel\nfirst\t1\n"))] == ["first", "second"]


def test_columns_can_be_named(channel: Write) -> None:
    folder = channel("a.csv", "title,body,stars\nT,B,4\n")
    assert read(folder, "title, body", "stars") == [("T B", "4")]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "txt,label\na,1\n", "train/a.csv has no column 'review_headline,review_body' or 'text'; "
         "did you mean 'txt'? set text_columns to one of its columns: txt, label"),
        ("a.csv", "text,lable\na,1\n", "train/a.csv has no column 'star_rating' or 'label'; did you mean 'lable'? "),
        ("a.csv", "", "train/a.csv has no rows; give it a header and at least one row, or remove the file"),
        ("a.csv", "text,label\n", "train/a.csv has no rows"),
        ("a.tsv", "text\tlabel\na\n", "train/a.tsv line 2 has 1 fields, the header has 2; mend or remove the row"),
        ("a.csv", "text,label\na,1\nb,1,2\n", "train/a.csv line 3 has 3 fields, the header has 2"),
        ("a.csv", "text,text\na,1\n", "train/a.csv has the column 'text' twice; rename one of them"),
        ("a.csv", 'text,label\n"never closed,1\n', "train/a.csv line 2 is not CSV (unexpected end of data)"),
        ("a.csv", "text,label\na,\n", "train/a.csv line 2 has no label in column 'label'"),
        ("a.csv", "text,label\n\xff,1\n".encode("latin-1"), "train/a.csv is not UTF-8 (invalid start byte)"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"\n', "train/a.jsonl line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "train/a.jsonl line 1 is not a JSON object"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', "train/a.jsonl line 2 has no field 'label'"),
        ("a.jsonl", '{"text": ["a"], "label": 1}\n', "train/a.jsonl line 1 has a list in field 'text'"),
        ("a.tsv.gz", gzip.compress(b"text\tlabel\na\t1\n" * 99)[:-9], "train/a.tsv.gz cannot be read"),
        ("a.xlsx", "x", "train/a.xlsx has no known format; its name must end in one of .csv, .tsv, .jsonl"),
        (".hidden", "x", "the channel 'train' holds no file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_sentence(channel: Write, name: str, content: str | bytes, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read(channel(name, content))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
