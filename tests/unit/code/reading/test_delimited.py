"""CSV in the dialects of spreadsheets, pandas and Spark, files without a header, and lines that are no rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data
from text_classifier.reading import content, delimited
from text_classifier.reading.channel import read_texts
from text_classifier.reading.columns import Columns

Write = Callable[[str, str | bytes], Path]

TEXTS = ["plain", "a, b; c | d", 'she said "no, no"', "two\nlines", "tab\there", "C:\\temp", '"', "\u00e9", "x"]
ROWS = [(text, "ab"[number % 2]) for number, text in enumerate(TEXTS)]


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse({"train_size": "0.5", **settings}))


def rows(found: Data) -> set[tuple[str, str]]:
    return {
        (text, found.classes[target])
        for split in found.splits.values()
        for text, target in zip(split.texts, split.targets, strict=True)
    }


def written(delimiter: str, quoting: int = csv.QUOTE_MINIMAL, *, names: tuple[str, ...] = ("text", "label")) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\r\n")  # type: ignore[arg-type]
    writer.writerow(names)
    writer.writerows([*row, *("x" for _ in names[2:])] for row in ROWS)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_separators_are_detected(channel: Write, delimiter: str, quoting: int) -> None:
    assert rows(data(channel("a.csv", written(delimiter, quoting)))) == set(ROWS)
    names = ("text", "label", "Notes, free; with | all\tof them")
    assert rows(data(channel("a.csv", written(delimiter, quoting, names=names)))) == set(ROWS)


@pytest.mark.parametrize("given", ["^", ":", "|", "tab", "\\t", "\t", ";", " "])
def test_the_separator_can_be_named(channel: Write, given: str) -> None:
    character = "\t" if given in ("tab", "\\t") else given
    assert rows(data(channel("a.csv", written(character)), delimiter=given)) == set(ROWS)


@pytest.mark.parametrize("given", ["||", '"', ", ,", "  ", "\n"])
def test_a_separator_is_one_character(channel: Write, given: str) -> None:
    with pytest.raises(SettingsError, match="is not a single character"):
        data(channel("a.csv", written(",")), delimiter=given)


def test_the_first_line_of_excel_names_the_separator(channel: Write) -> None:
    for delimiter in (";", "\t", "#"):
        found = data(channel("a.csv", f"sep={delimiter}\r\n" + written(delimiter)))
        assert rows(found) == set(ROWS)
    assert "train/a.csv line 3" in {place for split in found.splits.values() for place in split.places}


@pytest.mark.parametrize("suffix", ["\\", "", "\\\\"])
def test_backslashes_of_spark_escape_quotes(channel: Write, suffix: str) -> None:
    texts = ['He said \\"no\\", really', f"a, b{suffix}{suffix}", "C:\\new", 'end \\"']
    cells = [f'"{text}"' if '"' in text or "," in text else text for text in texts]
    table = "text,label\n" + "".join(f"{cell},{'ab'[number % 2]}\n" for number, cell in enumerate(cells))
    expected = {'He said "no", really', f"a, b{suffix}", "C:\\new", 'end "'}
    assert {text for text, _ in rows(data(channel("a.csv", table)))} == expected


def test_pandas_quotes_in_a_tsv(channel: Write) -> None:
    assert rows(data(channel("a.tsv", written("\t").replace("\r\n", "\n")))) == set(ROWS)
    all_quoted = written("\t", csv.QUOTE_ALL).replace("she said", "he")
    assert {"x", "plain"} <= {text for text, _ in rows(data(channel("a.tsv", all_quoted)))}


@pytest.mark.parametrize(
    "texts",
    [
        ['"Great" book', 'a 5" disk', '"', "plain"],
        ['"Great"', "plain", "other", "more"],
        ['so "so', "x", "y", "z"],
        ['"open', "x", "y", "z"],
    ],
)
def test_quotes_in_the_amazon_files_are_text(channel: Write, texts: list[str]) -> None:
    table = "text\tlabel\n" + "".join(f"{text}\t{'ab'[number % 2]}\n" for number, text in enumerate(texts))
    assert {text for text, _ in rows(data(channel("a.tsv", table)))} == set(texts)


@pytest.mark.parametrize("block", [1 << 10, 1 << 20])
@pytest.mark.parametrize("plain", [998, 999, 1_000, 5_000])
def test_the_first_quotes_of_a_tsv_may_stand_far_below(
    channel: Write, plain: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "BLOCK", block)
    above = "text\tlabel\n" + "".join(f"row {number}\ta\n" for number in range(plain))
    below = written("\t").partition("\n")[2]
    assert {text for text, _ in rows(data(channel("a.tsv", above + below)))} >= set(TEXTS)
    below = 'a 5" disk\ta\n"Great" book\tb\n'
    found = {text for text, _ in rows(data(channel("a.tsv", above + below)))}
    assert found >= {'a 5" disk', '"Great" book'} and len(found) == plain + 2


def test_the_search_for_the_first_quote_has_a_bound(channel: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "BLOCK", 1 << 10)
    monkeypatch.setattr(delimited, "_SEARCHED", 1 << 15)
    read: list[int] = []
    own = delimited.line_blocks
    monkeypatch.setattr(
        delimited, "line_blocks", lambda *given: (read.append(len(block)) or block for block in own(*given))
    )
    folder = channel("a.tsv", "text\tlabel\n" + "plain\ta\n" * 20_000)
    next(read_texts(folder / "a.tsv", Columns(("text",))))
    assert 1 << 15 <= sum(read) < 1 << 16


def test_a_file_without_a_header(channel: Write) -> None:
    table = "".join(f'{number % 2},"title {number}","text, {number}"\n' for number in range(6))
    folder = channel("a.csv", table)
    with pytest.raises(DataError) as refused:
        data(folder)
    assert str(refused.value) == (
        "train/a.csv has no header: its first line is a row (0, title 0, text, 0); add one, or set has_header=false "
        "and columns=label,text,column3"
    )
    found = data(folder, has_header="false", columns="label,title,text", text_columns="title,text")
    assert ("title 3 text, 3" in {text for text, _ in rows(found)}) and len(rows(found)) == 6
    with pytest.raises(DataError, match="train/a.csv line 1 has 3 fields, columns names 2; quote texts that"):
        data(folder, has_header="false", columns="label,text")


def test_a_part_without_the_header_of_the_first_is_named(channel: Write) -> None:
    channel("a-00.csv", "text,label\ngood,a\nbad,b\n")
    with pytest.raises(DataError) as refused:
        data(channel("a-01.csv", "fine,a\npoor,b\n"))
    assert str(refused.value) == "train/a-01.csv has no header, unlike train/a-00.csv; begin each file with text, label"


@pytest.mark.parametrize("above", ["# exported today\n", "Reviews of May,\n,\n", "Reviews\n\n"])
def test_lines_above_the_header_are_named(channel: Write, above: str) -> None:
    with pytest.raises(DataError) as refused:
        data(channel("a.csv", above + written(",")))
    line = above.count("\n") + 1
    assert str(refused.value) == f"train/a.csv: the header is line {line}, not line 1; remove the lines above it"


def test_lines_of_fasttext(channel: Write) -> None:
    folder = channel("train.txt", "__label__a  good , fine\n__label__b bad\n\n__label__a great\n__label__b poor\n")
    assert rows(data(folder)) == {("good , fine", "a"), ("bad", "b"), ("great", "a"), ("poor", "b")}
    folder = channel("train.txt", "__label__a __label__b both\n__label__b one\n__label__a two\n__label__b\n")
    assert data(folder, task="multi_label").classes == ("a", "b")
    with pytest.raises(DataError, match="train/train.txt line 1 has 2 labels in column 'label'; set task=multi_label"):
        data(folder)


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"text_columns": "text", "text_pair_columns": "second"}, "text_pair_columns"),
        ({"text_columns": "body"}, "text_columns"),
        ({"label_column": "stars"}, "label_column"),
        ({"slice_column": "kind"}, "slice_column"),
    ],
    ids=str,
)
def test_columns_that_fasttext_does_not_have_are_refused(channel: Write, settings: dict[str, str], given: str) -> None:
    with pytest.raises(DataError) as refused:
        data(channel("train.txt", "__label__a good , fine\n__label__b bad\n"), **settings)
    assert str(refused.value) == (
        f"train/train.txt has lines of fastText, each of which is a label and one text; remove {given}, or give a "
        "table with the columns that it names"
    )


def test_lines_that_are_no_rows(channel: Write) -> None:
    table = written(",")
    found = data(channel("a.csv", f"\r\n{table}{table},,\r\n,\r\n\r\n   \r\n\x1a".replace(",,", ",", 1)))
    assert sum(len(split) for split in found.splits.values()) == 2 * len(ROWS)
    assert "lines that repeat the header were skipped" in found.report["notes"]
    assert "label" not in found.classes


@pytest.mark.parametrize(
    "again", ["\ufefftext,label", '\ufeff"text","label"', "text, label", "Text,LABEL", '"text","label"']
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_header_further_below_is_no_row_however_it_is_written(channel: Write, again: str, delimiter: str) -> None:
    table = "text,label\na,x\nb,y\n" + again + "\nc,x\nd,y\n"
    found = data(channel("a.csv", table.replace(",", delimiter)))
    assert rows(found) == {("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")}
    assert "lines that repeat the header were skipped" in found.report["notes"]


def test_a_header_in_a_file_that_is_said_to_have_none_is_no_row(channel: Write) -> None:
    found = data(channel("a.csv", written(",")), has_header="false", columns="text,label")
    assert rows(found) == set(ROWS)


def test_rows_that_share_a_value_with_the_header_are_rows(channel: Write) -> None:
    table = "text,label\ntext,a\nText,b\nlabel,text\n\ufefftext,label!\n"
    assert len(rows(data(channel("a.csv", table + "x,a\ny,b\nz,text\nw,label!\n")))) == 8


def test_a_file_of_one_column(channel: Write) -> None:
    folder = channel("a.csv", 'text\na; b\n""\n\n   \nText\nc|d\n')
    found = [row.text for row in read_texts(folder / "a.csv", Columns(("text",)))]
    assert found == ["a; b", "", "Text", "c|d"]


@pytest.mark.parametrize("delimiter", [";", "|"])
def test_a_name_may_hold_a_comma_that_is_not_quoted(channel: Write, delimiter: str) -> None:
    table = written(delimiter, names=("text", "label", "Comment, free"))
    assert "Comment, free" in table and '"Comment' not in table
    assert rows(data(channel("a.csv", table))) == set(ROWS)
    table = written(",", names=("text", "label", f"Comment{delimiter} free"))
    assert rows(data(channel("a.csv", table))) == set(ROWS)


@pytest.mark.parametrize("above", ["Reviews of May\n", "Reviews, May\n\n", "# made by x, y\n# z\n"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_lines_above_the_header_have_separators_of_their_own(channel: Write, above: str, delimiter: str) -> None:
    line = above.count("\n") + 1
    with pytest.raises(DataError, match=f"^train/a.csv: the header is line {line}, not line 1; remove the lines"):
        data(channel("a.csv", above + written(delimiter)))


def test_a_first_line_that_recurs_is_a_row(channel: Write) -> None:
    folder = channel("a.csv", "ham\tok lar\nspam\twin now\nham\tfine\nspam\tfree\n")
    with pytest.raises(
        DataError, match=r"has no header: its first line is a row \(ham, ok lar\); .*columns=label,text$"
    ):
        data(folder)
    with pytest.raises(DataError, match="has no column .*; try text_columns=comment label_column=label$"):
        data(channel("a.csv", "comment,label,2019\nx,a,1\ny,b,2\n"))


def test_a_label_of_fasttext_in_a_csv_file(channel: Write) -> None:
    with pytest.raises(DataError, match="has no header: its first line is a row .*columns=label,text$"):
        data(channel("a.csv", "__label__pos,a very good film\n__label__neg,bad\n__label__pos,fine\n"))


@pytest.mark.parametrize("end", ["\x1a", "\x1a\x1a\x1a"])
def test_the_end_of_a_dos_file_is_no_row(channel: Write, end: str) -> None:
    assert rows(data(channel("a.csv", written(",") + end))) == set(ROWS)


def test_a_name_with_a_comma(channel: Write) -> None:
    folder = channel("a.csv", written(",", names=("text", "label", "Comment, free text")))
    with pytest.raises(DataError, match=r"a name with a comma in a JSON list: text_columns=\[.Comment, free text.\]"):
        data(folder, text_columns="Comment, free text")
    assert {text for text, _ in rows(data(folder, text_columns='["Comment, free text"]'))} == {"x"}
    with pytest.raises(SettingsError, match="is not a JSON list of names"):
        data(folder, text_columns='["a"')


def test_unknown_columns_come_with_the_first_row_and_a_proposal(channel: Write) -> None:
    with pytest.raises(DataError) as refused:
        data(channel("a.csv", "id,Review,Sentiment\n7,good and so on and so on and so on and so on,pos\n"))
    assert str(refused.value).endswith(
        "set text_columns to one of its columns: id, Review, Sentiment (first row: 7, good and so on and so on and so "
        "on and s, pos); try text_columns=Review label_column=Sentiment"
    )
    with pytest.raises(DataError, match="; try text_columns=text task=multi_label label_columns=toxic,rude$"):
        data(channel("a.csv", "text,toxic,rude\nx,1,0\n"), task="multi_label")
