"""The sample of data in S3: whole rows of files of any encoding, read in chunks."""

import io

import pytest

from launcher.aws import sample
from launcher.plan.s3 import Listing, S3Uri

#: U+0A22 and U+220A have the bytes of a line feed and of a quotation mark; U+1F600 has two units of UTF-16.
ROWS = [f'text {number} \u0a22\u220a\U0001f600,"a\nb ""c""",{"ab"[number % 2]}\n' for number in range(100_000)]


def written(content, rows=1000, encoding=""):
    taken = io.BytesIO()
    lines = sample._write_lines(io.BytesIO(content), taken, rows, encoding)
    return taken.getvalue(), lines


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "gb18030"])
@pytest.mark.parametrize("is_marked", [True, False])
def test_rows_are_whole_in_each_encoding(codec, is_marked):
    mark = "\ufeff" if is_marked and codec.startswith(("utf-16", "utf-32")) else ""
    content = (mark + "".join(ROWS)).encode(codec)
    found, _ = written(content, encoding="" if mark else codec)
    text = found.decode(codec).removeprefix(mark)
    rows = text.count("\n") // 2  # each row has two lines
    assert 500 <= rows < 600
    assert text == "".join(ROWS[:rows])


def test_utf_16_without_byte_order_is_that_of_this_machine():
    content = "".join(ROWS).encode("utf-16-le")
    assert written(content, encoding="UTF_16")[0] == written(content, encoding="utf-16-le")[0]


def test_an_object_with_fewer_rows_is_taken_whole():
    content = b"a,b\n1,2"
    assert written(content) == (content, 1)
    assert written(content, encoding="no-such-encoding") == (content, 1)


def test_rows_that_are_long_are_whole_too(monkeypatch):
    monkeypatch.setattr(sample, "_MAX_BYTES", 2 << 20)
    row = b"x" * 99_999 + b"\n"
    found, lines = written(row * 100)
    assert (found, lines) == (row * lines, 20)


def test_what_is_not_of_the_encoding_is_left_to_the_check():
    content = b"\xff\xfe\x00\x00" + b"\xff" * (2 << 20) + b"\n" * 2000
    assert written(content)[0].startswith(b"\xff\xfe\x00\x00\xff\xff\xff\xff")


def test_objects_that_are_all_too_large_are_not_checked(tmp_path, capsys):
    listing = Listing(S3Uri("mine", "x/"), {"a.parquet": 10**9})
    assert not sample._download(None, "train", listing, 1000, tmp_path, "")
    assert capsys.readouterr().out == "train: not checked: every object of s3://mine/x/ is larger than 64 MB\n"
