"""The formats of the records of a transform job, and the files that it cannot split."""

import pytest

from launcher.plan import transform
from text_classifier.contract.errors import UserError


@pytest.mark.parametrize(
    ("names", "given", "type"),
    [
        (["a.csv"], None, "text/csv"),
        (["a.jsonl", "b/c.NDJSON", "d.jsonlines"], None, "application/jsonlines"),
        (["a.txt"], None, "text/plain"),
        (["a.log", "b"], "txt", "text/plain"),
        ([], "csv", "text/csv"),
    ],
)
def test_the_type_is_that_of_the_names_or_the_given_one(names, given, type):
    assert transform.type_of(names, given) == type


def test_files_of_several_types_are_refused():
    with pytest.raises(UserError, match=r"files of several formats \(csv, txt\)"):
        transform.type_of(["a.csv", "b.txt"], None)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a\n\n'b\nc\"d\n", None),
        (b'"a, ""b"""\r\nc\r\n', None),
        (b'a\n"b\nc"\n', 2),
        (b'a\nb\n"c\r\nd",e\nf\n', 3),
        (b'a\n"b" c\n', None),  # not CSV: the server marks the line
        (b"\xff\nb\n", None),
    ],
)
def test_a_record_of_several_lines_is_refused(tmp_path, content, line):
    file = tmp_path / "new.csv"
    file.write_bytes(content)
    transform.check_files({"new.csv": file}, transform.PLAIN, 1)
    if line is None:
        transform.check_files({"new.csv": file}, transform.CSV, 1)
        return
    with pytest.raises(UserError, match=f"line {line} of new.csv has a field that continues on the next line"):
        transform.check_files({"new.csv": file}, transform.CSV, 1)
