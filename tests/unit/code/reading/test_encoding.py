"""Texts in other encodings than UTF-8."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data
from text_classifier.reading import content
from text_classifier.reading import encoding as encodings

Write = Callable[[str, str | bytes], Path]

TEXTS = ["caf\u00e9 \u201cgood\u201d", "na\u00efve \u20ac", "plain"]
TABLE = "text,label\r\n" + "".join(f"{text},{number % 2}\r\n" for number, text in enumerate(TEXTS * 2))
JSON = "".join(f'{{"text": "{text}", "label": {number % 2}}}\n' for number, text in enumerate(TEXTS * 2))


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse({"train_size": "0.5", **settings}))


def texts(found: Data) -> set[str]:
    return {text for rows in found.splits.values() for text in rows.texts}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("text", [TABLE, JSON, TABLE.replace(",", "\t")])
@pytest.mark.parametrize("block", [64, 1 << 20])
def test_a_byte_order_mark_tells_the_encoding(
    channel: Write, encoding: str, text: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "BLOCK", block)
    mark = "" if encoding in ("utf-16", "utf-32", "utf-8-sig") else "\ufeff"
    assert texts(data(channel("a", (mark + text).encode(encoding)))) == set(TEXTS)
    assert texts(data(channel("a", gzip.compress((mark + text).encode(encoding), mtime=0)))) == set(TEXTS)


@pytest.mark.parametrize("encoding", ["windows-1252", "cp1252", "utf-16-le", "utf-8"])
def test_an_encoding_can_be_named(channel: Write, encoding: str) -> None:
    assert texts(data(channel("a", TABLE.encode(encoding)), encoding=encoding)) == set(TEXTS)


def test_auto_reads_other_lines_as_windows_1252_and_counts_them(
    channel: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = TABLE.encode().splitlines(keepends=True)
    mixed = b"".join(lines[:2]) + "".join(line.decode() for line in lines[2:]).encode("cp1252")
    for block in (5, 1 << 20):
        monkeypatch.setattr(content, "BLOCK", block)
        found = data(channel("a", mixed), encoding="auto")
        assert texts(found) == set(TEXTS)
        [warning] = [note for note in found.report["notes"] if "UTF-8" in note]
        assert warning == "WARNING: train/a has 3 lines that are not UTF-8, read as windows-1252; look at the texts"
    assert texts(data(channel("a", b"text,label\na\x81b,1\nc\xe9,2\nd,1\ne,2\n"), encoding="auto")) >= {"c\u00e9"}


def test_auto_reads_json_on_one_line_of_any_length(channel: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    array = "[" + JSON.strip().replace("\n", ",") + "]"
    assert texts(data(channel("a", array.encode()), encoding="auto")) == set(TEXTS)
    found = data(channel("a", array.encode("cp1252")), encoding="auto")
    assert texts(found) == set(TEXTS)
    assert any("1 line that is not UTF-8" in note for note in found.report["notes"])
    monkeypatch.setattr(encodings, "_LONGEST", 40)
    monkeypatch.setattr(content, "BLOCK", 7)
    assert texts(data(channel("a", array.encode()), encoding="auto")) == set(TEXTS)


@pytest.mark.parametrize("encoding", ["", "auto", "utf-8"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_named(channel: Write, encoding: str, codec: str) -> None:
    with pytest.raises(DataError, match=f"seems to be UTF-16 without a byte order mark; set encoding={codec}$"):
        data(channel("a", TABLE.encode(codec)), encoding=encoding)


def test_a_header_that_is_not_utf_8_is_named(channel: Write) -> None:
    with pytest.raises(DataError, match="^train/a line 1, the header, is not UTF-8; set encoding=windows-1252 if"):
        data(channel("a", TABLE.replace("text", "d\u00e9tail").encode("cp1252")), text_columns="d\u00e9tail")


def test_utf_8_in_another_encoding_is_a_warning(channel: Write) -> None:
    found = data(channel("a", TABLE.encode()), encoding="latin-1")
    assert [
        note for note in found.report["notes"] if note.startswith("WARNING: train/a looks like UTF-8, but is read as")
    ]
    found = data(channel("a", TABLE.encode("cp1252")), encoding="windows-1252")
    assert not [note for note in found.report["notes"] if "WARNING" in note]


def test_bytes_that_are_not_of_the_encoding_are_one_sentence(channel: Write) -> None:
    with pytest.raises(DataError, match=r"^train/a is not shift_jis \(.+\); set encoding to that of the file$"):
        data(channel("a", TABLE.encode("cp1252")), encoding="shift_jis")
    with pytest.raises(DataError, match=r"line 2 is not UTF-8 .*; set encoding=windows-1252 if a Windows program"):
        data(channel("a", TABLE.encode("cp1252")))


@pytest.mark.parametrize("encoding", ["utf8x", "base64", "rot13", "idna", "utf-7", "unicode_escape", "hex"])
def test_what_is_no_encoding_is_refused(channel: Write, encoding: str) -> None:
    with pytest.raises(SettingsError, match="is not supported; use an encoding such as windows-1252"):
        data(channel("a", TABLE), encoding=encoding)
