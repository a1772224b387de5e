from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from support.jobs import Job, easy_rows, table
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.preparation.rows import map_rows, prepare_rows, write_rows
from text_classifier.reading.rows import Places, Rows
from text_classifier.reading.strings import Strings
from text_classifier.runtime.folders import JobFolders


def same(one: Rows, other: Rows) -> bool:
    for field in fields(Rows):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), field.name
        elif isinstance(a, Strings | Places):
            assert a[:] == b[:], field.name
        else:
            assert a == b, field.name
    return True


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (table(easy_rows(40)), {}),
        ("text\tlabel\n" + "gr\u00fcn\ta,b\nrot\ta\n\u2028 x\tb\nwei\u00df\t\n" * 3, {"task": "multi_label"}),
        ("text\tlabel\n" + "".join(f"number {row}\t{row / 7}\n" for row in range(20)), {"task": "regression"}),
        (
            "text\tlabel\tid\tkind\tgroup\n"
            + "".join(f"text {row}\t{row % 2}\tr{row}\tk{row % 3}\tg{row // 2}\n" for row in range(40)),
            {"id_column": "id", "slice_column": "kind", "group_column": "group", "max_data_rows": "30"},
        ),
    ],
    ids=["single_label", "multi_label", "regression", "columns"],
)
def test_rows_are_mapped_as_they_were_read(job: Job, tmp_path: Path, rows: str, settings: dict[str, str]) -> None:
    job.write("train", "reviews.tsv", rows)
    chosen = parse(settings)
    data = read_data(JobFolders(job.base).data_channels(), chosen, folder=tmp_path)
    write_rows(data, tmp_path)
    mapped = map_rows(chosen, tmp_path)
    assert (type(mapped.task), mapped.classes, mapped.report) == (type(data.task), data.classes, data.report)
    assert list(mapped.splits) == list(data.splits)
    assert all(same(mapped.splits[name], data.splits[name]) for name in data.splits)
    some = np.array([2, 0])
    assert same(mapped.splits["train"].take(some), data.splits["train"].take(some))


def test_the_splits_of_a_channel_share_its_texts(job: Job, tmp_path: Path) -> None:
    job.write("train", "reviews.tsv", "id\ttext\tlabel\n" + "".join(f"r{n}\tno {n}\t{n % 2}\n" for n in range(20)))
    job.write("test", "reviews.tsv", "id\ttext\tlabel\nr20\tno 20\t0\n")
    settings = parse({"id_column": "id"})
    write_rows(read_data(JobFolders(job.base).data_channels(), settings, folder=tmp_path), tmp_path)
    splits = map_rows(settings, tmp_path).splits
    for part, file in (("texts", "no 20"), ("ids", "r20")):
        train, validation, test = (getattr(splits[name], part) for name in ("train", "validation", "test"))
        assert train.content is validation.content and list(test) == [file]
        assert sorted(path.name for path in tmp_path.rglob(f"*.{part}")) == [f"test.{part}", f"train.{part}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "rows"]


def test_the_report_is_that_of_the_first_host(
    ready_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, settings = JobFolders(ready_job.base), parse({})
    report = folders.output_data / "data_report.json"
    for number, rank in enumerate(("8", "0")):
        monkeypatch.setenv("RANK", rank)
        (tmp_path / rank).mkdir()
        prepare_rows(folders, settings, tmp_path / rank)
        assert bool(capsys.readouterr().out) == report.exists() == bool(number)


def test_running_out_of_memory_is_one_sentence(ready_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("text_classifier.preparation.rows.read_data", exhausted)
    with pytest.raises(Exception, match="the host ran out of memory while the data was read and tokenized; use an"):
        prepare_rows(JobFolders(ready_job.base), parse({}), tmp_path)
