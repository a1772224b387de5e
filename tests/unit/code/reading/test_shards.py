# ruff: noqa: E501 - the tables have a case in few lines
"""A sharded channel gives every host the rows of a replicated one, whichever host has which file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from text_classifier.contract.errors import DataError, JobError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.reading import processes
from text_classifier.reading.shards import Shards
from text_classifier.runtime.exchange import Exchange, Streams
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import Stopped

#: Contents by channel and name.
Files = Mapping[str, str | bytes]

HOSTS = ("algo-1", "algo-2", "algo-3")


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def found(read: Callable[[], Any]) -> Any:
    """All that reading gives, or the error that ends it."""
    try:
        data = read()
    except (JobError, Stopped) as error:
        return error
    columns = ("targets", "characters", "exact", "near", "groups", "slices")
    rows = [
        (
            *[getattr(split, name).tolist() for name in columns],
            *(split.texts[:], split.places[:], split.ids and split.ids[:]),
            *(split.slice_values, split.dropped, split.unlabelled, split.notes),
        )
        for split in data.splits.values()
    ]
    return repr((rows, data.classes, data.report))


def together(base: Path, shares: Sequence[Files], **settings: str) -> list[Any]:
    """What each host finds, of which each has a share of the files. Their streams are in one folder."""
    names = HOSTS[: len(shares)]

    def host(index: int) -> Any:
        folder = write(base / names[index], shares[index])
        exchange = Exchange(base, Hosts(names, names[index], None))
        shards = Shards(["train", "validation"], exchange)
        channels = {name: folder / name for name in sorted({file.split("/")[0] for share in shares for file in share})}
        result: Any = None
        try:
            result = found(lambda: read_data(channels, parse(settings), shards))
        finally:
            if not isinstance(result, str):
                Streams(base, len(names)).stop()
        return result

    base.mkdir()
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(host, range(len(shares))))


def tsv(rows: Sequence[tuple[str, ...]], header: str = "text\tlabel") -> str:
    return header + "\n" + "".join("\t".join(row) + "\n" for row in rows)


def numbered(count: int, labels: str, word: str) -> str:
    return tsv([(f"{word} {number}", labels[number % len(labels)]) for number in range(count)])


def wide(count: int, word: str) -> str:
    rows = [(f"i{n}", f"{word} {n % 7}", "ab"[n % 2], f"g{n % 5}", f"{word}{n % 3}") for n in range(count)]
    return tsv(rows, "id\ttext\tlabel\tgroup\tslice")


def pairs(count: int, word: str) -> str:
    """Some texts are empty, some pairs are repeated, and some have the same characters elsewhere."""
    rows = [
        (f"{word} {n % 7}" * (n % 5 > 0), f"{n % 3} wet" * (n % 4 > 0), "xy"[n % 2], "ab"[n % 2], f"g{n % 5}", f"i{n}")
        for n in range(count)
    ]
    return tsv(rows, "premise\thypothesis\tmore\tlabel\tgroup\tid")


def pairs_as_json(count: int, word: str) -> str:
    rows = [
        {"premise": f"{word} {n}", "hypothesis": None if n == 1 else f"{n} wet", "more": "", "label": "ab"[n % 2]}
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def lines(values: list[Any]) -> str:
    return "".join(json.dumps({"text": f"text {n}", "label": value}) + "\n" for n, value in enumerate(values))


def odd() -> str:
    return "".join(json.dumps(row) + "\n" for row in [{"text": "no label"}, {"text": "null", "label": None}])


CASES: dict[str, tuple[Files, dict[str, str]]] = {
    "each host has classes of its own": (
        {"train/a.tsv": numbered(9, "yx", "a"), "train/b.tsv": numbered(8, "zx1", "b"), "train/c.tsv": numbered(4, "0", "c")},
        {},
    ),
    "numbers and words": (
        {"train/1.jsonl": lines([10, 2, 9.0] * 3), "train/2.jsonl": lines(["10", "Two", "9"] * 3), "train/3.tsv": numbered(6, "25", "c")},
        {},
    ),
    "columns for groups, slices and ids": (
        {"train/a.tsv": wide(40, "good"), "train/b.tsv": wide(30, "bad"), "train/c.tsv": wide(20, "poor")},
        {"group_column": "group", "slice_column": "slice", "id_column": "id", "train_size": "0.6"},
    ),
    "repeated texts": (
        {"train/a.tsv": wide(40, "good"), "train/b.tsv": wide(40, "Good"), "validation/c.tsv": wide(3, "good"), "validation/d.tsv": wide(4, "x")},
        {"deduplicate": "true", "max_data_rows": "60"},
    ),
    "bad rows": (
        {"train/a.tsv": numbered(300, "ab", "a") + "1\t2\t3\n", "train/b.tsv": numbered(300, "ba", "b") + "x\ty\tz\n\0\tb\n", "train/c.tsv": "text\tlabel\n"},
        {"bad_rows": "skip"},
    ),
    "dropped rows": (
        {"train/a.jsonl": lines(["a", "b", "c"] * 5) + odd(), "train/b.jsonl": odd() + lines(["d", "b", "a"] * 5)},
        {"label_map": "a=x;b=y", "unmapped": "drop", "unlabelled": "drop"},
    ),
    "sets of labels": (
        {"train/a.jsonl": lines([["a", "b"], ["b"], []] * 4), "train/b.jsonl": lines([["c"], ["b", "a"], ["d", "c"]] * 4)},
        {"task": "multi_label"},
    ),
    "columns of labels": (
        {"train/a.tsv": tsv([("t", "1", "0"), ("u", "0", "")] * 5, "text\tx\ty"), "train/b.tsv": tsv([("v", "1", "1")] * 5, "text\tx\ty")},
        {"task": "multi_label", "label_columns": "x,y"},
    ),
    "pairs": (
        {
            "train/a.tsv": pairs(20, "It rains"), "train/b.jsonl": pairs_as_json(9, "Grüße"), "train/c.tsv": pairs(11, "it RAINS"),
            "validation/v.tsv": pairs(4, "it rains"), "validation/w.jsonl": pairs_as_json(5, "Grüße "),
        },
        {"text_columns": "premise", "text_pair_columns": "hypothesis,more", "deduplicate": "true"},
    ),
    "pairs with groups, slices and ids": (
        {"train/a.tsv": pairs(40, "good"), "train/b.tsv": pairs(30, "bad"), "train/c.tsv": pairs(20, "poor")},
        {
            "text_columns": "premise", "text_pair_columns": "hypothesis", "group_column": "group", "slice_column": "more", "id_column": "id",
            "train_size": "0.6", "cross_validation": "2",
        },
    ),
    "pairs with bad rows": (
        {"train/a.tsv": pairs(300, "a") + "1\t2\n", "train/b.tsv": pairs(300, "b") + "x\0\ty\tz\ta\tg\ti\n"},
        {"text_columns": "premise", "text_pair_columns": "hypothesis", "bad_rows": "skip"},
    ),
    "numbers": ({"train/a.tsv": numbered(9, "123", "a"), "train/b.jsonl": lines([0.1, 4, "5"] * 3)}, {"task": "regression"}),
    "texts in folders": ({f"train/{label}/{n}.txt": f"{label} {n}" for label in ("pos", "neg") for n in range(5)}, {}),
    "texts of one class": (
        {"validation/pos/5.txt": "good", **{f"train/{label}/{n}.txt": f"{label} {n}" for label in ("pos", "neg") for n in range(5)}, "validation/pos/6.txt": "fine"},
        {},
    ),
    "tables in folders": ({f"train/{year}/{n}.txt": numbered(4, "ab", year) for year in ("2019", "2020") for n in range(3)}, {}),
    "files named as splits": (
        {"train/train-0.tsv": numbered(9, "ab", "a"), "train/train-1.tsv": numbered(9, "ac", "b"), "train/validation.tsv": numbered(6, "bca", "c"), "train/README.md": "x", "train/empty.tsv": ""},
        {},
    ),
    "partitions": ({f"train/label={label}/part-{n}.csv": f"text\n{label} {n}\nmore\n" for label in "ab" for n in range(3)}, {}),
    "a Delta table": (
        {
            "train/a.csv": "text,label\n" + "old,x\n" * 9, "train/b.csv": "text,label\n" + "good,a\nbad,b\n" * 9, "train/_delta_log/000.json": '{"add": {"path": "a.csv"}}',
            "train/_delta_log/001.json": '{"remove": {"path": "a.csv"}}', "train/_delta_log/002.json": '{"add": {"path": "b.csv"}}',
        },
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("files", "settings"), CASES.values(), ids=CASES)
def test_all_hosts_have_the_rows_of_a_replicated_channel(
    tmp_path: Path, files: Files, settings: dict[str, str], count: int
) -> None:
    whole = write(tmp_path / "whole", files)
    expected = found(lambda: read_data({path.name: path for path in whole.iterdir()}, parse(settings)))
    assert isinstance(expected, str), expected
    shares: Sequence[Files] = [dict(list(files.items())[host::count]) for host in range(count)]
    assert together(tmp_path / "hosts", shares, **settings) == [expected] * count


def test_a_host_without_a_file_has_all_rows_too(tmp_path: Path) -> None:
    files = {"train/a.tsv": numbered(9, "ab", "a")}
    alone = found(lambda: read_data({"train": write(tmp_path / "whole", files) / "train"}, parse({})))
    assert together(tmp_path / "hosts", [{}, files, {}]) == [alone] * 3


def test_several_processes_of_a_host_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"train/{n}.jsonl": lines(["a", "b"] * 4) + odd() for n in range(6)}
    settings = {"unlabelled": "drop"}
    alone = found(lambda: read_data({"train": write(tmp_path / "whole", files) / "train"}, parse(settings)))
    monkeypatch.setattr(processes, "process_count", lambda files: 2)
    monkeypatch.setattr("text_classifier.reading.pieces.PART", 300)
    shares: Sequence[Files] = [dict(list(files.items())[:5]), dict(list(files.items())[5:])]
    assert together(tmp_path / "hosts", shares, **settings) == [alone] * 2


def test_a_file_that_all_hosts_have_is_read_once(tmp_path: Path) -> None:
    """As where a job of several hosts is tried without S3."""
    files = {"train/a.tsv": numbered(9, "ab", "a"), "train/b.tsv": numbered(9, "ab", "b")}
    alone = found(lambda: read_data({"train": write(tmp_path / "whole", files) / "train"}, parse({})))
    assert together(tmp_path / "hosts", [files, files]) == [alone] * 2


def test_different_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    shares: Sequence[Files] = [{"train/a.tsv": numbered(9, "ab", word)} for word in "xyz"]
    one, *others = together(tmp_path / "hosts", [*shares[:2], shares[0]])
    assert others == [one] * 2
    assert one.count("train/a.tsv of algo-1 line") == one.count("train/a.tsv of algo-2 line") == 9
    assert "algo-3" not in one


MISTAKES: dict[str, tuple[str, dict[str, str], str]] = {
    "a row": (numbered(9, "ab", "b") + "x\ty\tz\n", {}, "train/b.tsv line 11 has 3 fields, the header has 2; fix or"),
    "a label": (
        numbered(9, "abc", "b"),
        {"label_map": "a=x;b=y"},
        "train/b.tsv line 4 has the label 'c', which is not",
    ),
    "a header": ("words\tlabel\nx\ta\n", {}, "train/b.tsv has no column 'review_headline,review_body' or"),
}


@pytest.mark.parametrize(("content", "settings", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_where_the_file_lies(
    tmp_path: Path, content: str, settings: dict[str, str], sentence: str
) -> None:
    shares: Sequence[Files] = [{"train/a.tsv": numbered(9, "ab", "a")}, {"train/b.tsv": content}]
    one, other = together(tmp_path / "hosts", shares, **settings)
    assert isinstance(one, Stopped)
    assert isinstance(other, DataError) and str(other).startswith(sentence), other


def test_what_only_all_rows_show_is_found_on_all_hosts(tmp_path: Path) -> None:
    bad = "text\tlabel\n" + "x\ty\tz\n" * 3
    shares: Sequence[Files] = [{"train/a.tsv": numbered(9, "ab", "a")}, {"train/b.tsv": bad}]
    errors = together(tmp_path / "hosts", shares, bad_rows="skip")
    assert [str(error) for error in errors if isinstance(error, DataError)]
    assert all("train has 3 (25.0%)" in str(error) for error in errors if isinstance(error, DataError))
    one_label = [{"train/a.tsv": numbered(9, "a", "a")}, {"train/b.tsv": numbered(9, "a", "b")}]
    errors = together(tmp_path / "again", one_label)
    assert any("all rows have the label 'a'" in str(error) for error in errors)


def test_no_file_on_any_host_is_a_mistake(tmp_path: Path) -> None:
    shares: Sequence[Files] = [{"train/_SUCCESS": ""}, {"train/README.md": "x"}]
    errors = together(tmp_path / "hosts", shares)
    sentence = "the channel 'train' has no files with rows, only README.md, _SUCCESS; add a CSV"
    assert any(str(error).startswith(sentence) for error in errors), errors
