from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from support.jobs import Job, easy_rows, table
from text_classifier.contract.errors import DataError, SettingsError
from text_classifier.contract.parsing import parse
from text_classifier.dataset import data_report, load
from text_classifier.dataset.load import Data, fold_of_rows, read_data
from text_classifier.reading import assembly
from text_classifier.runtime.folders import JobFolders


def read(job: Job, **hyperparameters: str) -> Data:
    return read_data(JobFolders(job.base).data_channels(), parse(hyperparameters))


def texts(data: Data, name: str) -> list[str]:
    return list(data.splits[name].texts[:])


def test_every_row_is_in_one_split_under_its_class(job: Job) -> None:
    job.write("train", "a.tsv", table((f"row {n}", "bad" if n % 3 else "good") for n in range(90)))
    data = read(job)
    assert sorted(texts(data, "train") + texts(data, "validation")) == sorted(f"row {n}" for n in range(90))
    for rows in data.splits.values():
        numbers = [int(text.split()[1]) for text in rows.texts[:]]
        assert [data.classes[index] for index in rows.targets] == ["bad" if n % 3 else "good" for n in numbers]
        assert [int(place.rpartition(" ")[2]) - 2 for place in rows.places[:]] == numbers


def test_the_classes_of_training_hold_for_the_other_channels(job: Job) -> None:
    job.write("train", "a.tsv", table([("a", "10"), ("b", "2"), ("c", "1")]))
    job.write("validation", "a.tsv", table([("d", "2.0"), ("e", "10")]))
    assert read(job).splits["validation"].targets.tolist() == [1, 2]
    job.write("test", "a.tsv", table([("d", "3")]))
    with pytest.raises(DataError, match="test/a.tsv line 2 has the label '3', which is not one of 1, 2, 10; fix"):
        read(job)


def test_labels_outside_the_map_are_an_error_or_dropped_and_counted(job: Job) -> None:
    job.write("train", "a.tsv", table((f"row {n}", str(n % 5 + 1)) for n in range(100)))
    with pytest.raises(
        DataError, match="train/a.tsv line 4 has the label '3', which is not one of 1-2, 4-5; fix the row"
    ):
        read(job, label_map="1-2=bad;4-5=good")
    data = read(job, label_map="1-2=bad;4-5=good", unmapped="drop")
    assert sum(map(len, data.splits.values())) == 80
    assert data.report["channels"]["train"]["unmapped_labels"] == 20
    assert "left out of train: 0 bad rows, 20 rows with a label" in data_report.table(data.report, data.task)
    with pytest.raises(DataError, match="no row of train has a label that is in label_map; its labels are x, y"):
        read(job, label_map="x=bad;y=good", unmapped="drop")


def test_a_row_keeps_its_slice_wherever_it_goes(job: Job) -> None:
    rows = (f"text {n}\t{n % 2}\t{n // 2}\t{' ' if n % 3 == 0 else f'kind {n % 3}'}\n" for n in range(200))
    job.write("train", "a.tsv", "text\tlabel\tpair\tkind\n" + "".join(rows))
    for group in ("", "pair"):
        data = read(job, slice_column="kind", group_column=group)
        for found in data.splits.values():
            kinds = [found.slice_values[index] for index in found.slices]
            assert kinds == [
                "" if int(t.split()[1]) % 3 == 0 else f"kind {int(t.split()[1]) % 3}" for t in found.texts[:]
            ]
    with pytest.raises(DataError, match="train/a.tsv has no column 'kynd'; did you mean 'kind'\\? set slice_column"):
        read(job, slice_column="kynd")
    assert not read(job).splits["validation"].slice_values


def test_a_column_may_be_named_as_the_file_spells_it(job: Job) -> None:
    """An accent may be a character of its own, as macOS writes it."""
    names = {name: unicodedata.normalize("NFD", f"{name}\u00e9") for name in ("label", "group", "slice", "id")}
    header = "\t".join(["text", *names.values()])
    job.write("train", "a.tsv", header + "\n" + "".join(f"row {n}\t{n % 2}\t{n // 2}\t{n}\t{n}\n" for n in range(40)))
    for form in ("NFC", "NFD"):
        settings = {f"{name}_column": unicodedata.normalize(form, spelled) for name, spelled in names.items()}
        assert read(job, **settings).classes == ("0", "1")


def test_only_what_is_measured_needs_the_slice_column(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.write("train", "a.tsv", table([("a", "0"), ("b", "1")]))
    job.write("validation", "a.jsonl", '{"text": "c", "label": 0, "kind": 7}\n{"text": "d", "label": 1}\n')
    assert read(job, slice_column="kind").splits["validation"].slice_values == ("7", "")
    monkeypatch.setattr(assembly, "MOST_SLICES", 1)
    with pytest.raises(DataError, match="validation/a.jsonl has more than 1 values in column 'kind'; choose another"):
        read(job, slice_column="kind")


def test_rows_of_a_group_stand_on_one_side(job: Job) -> None:
    rows = "".join(f"sentence {n}\t{n // 4 % 2}\treview {n // 4}\n" for n in range(400))
    job.write("train", "a.tsv", f"text\tlabel\treview\n{rows}")
    data = read(job, group_column="review")
    groups = [{int(text.split()[1]) // 4 for text in texts(data, name)} for name in ("train", "validation")]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == 100
    with pytest.raises(DataError, match="train/a.tsv has no column 'revue'; did you mean 'review'\\? set group_column"):
        read(job, group_column="revue")
    job.write("validation", "a.tsv", table([("a", "0"), ("b", "1")]))  # nothing to split, so no group is needed
    assert len(texts(read(job, group_column="review"), "train")) == 400


def test_a_validation_split_far_from_its_share_is_noted(job: Job) -> None:
    rows = "".join(f"sentence {n}\t{n % 2}\t{n % 3}\n" for n in range(300))
    job.write("train", "a.tsv", f"text\tlabel\treview\n{rows}")
    assert read(job, group_column="review").report["notes"] == [
        "validation has 100 of 300 rows, not 30 as train_size=0.9 says, because the rows of a group stay together; "
        "give a `validation` channel to choose its rows"
    ]
    assert not read(job, group_column="review", train_size="0.7").report["notes"]
    assert not read(job).report["notes"]


def test_folds_keep_groups_together_and_without_them_the_same_texts(job: Job) -> None:
    rows = "".join(f"{'A b' if n % 5 == 0 else f'text {n}'}\t{n % 2}\t{n // 4}\n" for n in range(80))
    job.write("train", "a.tsv", f"text\tlabel\treview\n{rows}")
    job.write("validation", "a.tsv", table([("a", "0"), ("b", "1")]))
    for group in ("review", ""):
        settings = parse({"cross_validation": "4", "group_column": group})
        data = read_data(JobFolders(job.base).data_channels(), settings)
        found = fold_of_rows(data.splits["train"], data.task, settings)
        assert np.bincount(found).tolist() == pytest.approx([20] * 4, abs=0 if group else 5)
        together = np.arange(80) // 4 == 3 if group else np.arange(80) % 5 == 0
        assert len(set(found[together])) == 1
    with pytest.raises(DataError, match="train/a.tsv has no column 'revue'"):
        read(job, group_column="revue", cross_validation="4")


def test_a_cross_validation_of_too_few_or_too_many_rows_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.write("train", "a.tsv", table([("a", "0"), ("b", "1"), ("B ", "1")]))
    job.write("validation", "a.tsv", table([("c", "0"), ("d", "1")]))
    with pytest.raises(SettingsError) as few:
        read(job, cross_validation="3")
    assert str(few.value) == (
        "cross_validation=3 needs training rows of as many different texts, and there are 2; add rows, or lower it"
    )
    monkeypatch.setattr(load, "MOST_CROSS_VALIDATED", 2)
    with pytest.raises(SettingsError, match="cross_validation=2 is for at most 2 training rows, and there are 3, of"):
        read(job, cross_validation="2")
    assert len(texts(read(job), "train")) == 3


def test_texts_on_both_sides_are_counted_and_left_out_of_training_if_wanted(job: Job) -> None:
    job.write("train", "a.tsv", table([("A fine book", "1"), ("a  FINE book ", "0"), ("dull", "0"), ("", "1")]))
    job.write("validation", "a.tsv", table([("A fine book", "1"), ("new", "0"), ("", "1")]))
    data = read(job)
    assert len(texts(data, "train")) == 4
    repeats, _ = data.report["notes"]
    assert repeats == "2 training rows repeat a validation text (1 verbatim); deduplicate=true removes such rows"
    assert data.report["splits"]["train"]["near_duplicates"] == 1
    assert data.report["splits"]["train"]["exact_duplicates"] == 0
    assert texts(read(job, deduplicate="True"), "train") == ["dull", ""]


def test_a_class_too_rare_to_split_is_named(job: Job) -> None:
    job.write("train", "a.tsv", table([*((f"row {n}", "01"[n % 2]) for n in range(20)), ("once", "rare")]))
    missing, rare = read(job).report["notes"]
    assert missing == "validation has no row of class rare, so its metrics do not cover it"
    assert rare.startswith("fewer than 32 training rows: rare (1), 0 (9), 1 (9); the model may never predict such a")


def test_10_001_classes_are_refused_where_the_last_one_stands(job: Job) -> None:
    job.write("train", "a.tsv", table((f"row {n}", f"name{n}") for n in range(10_001)))
    with pytest.raises(DataError) as caught:
        read(job)
    assert str(caught.value).startswith(
        "train/a.tsv line 10002: the label column has more than 10,000 distinct labels (name0, name1, name2"
    )


@pytest.mark.parametrize("name", ["validation", "test"])
@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_labels_missing_in_another_channel_are_one_sentence(job: Job, name: str, task: str) -> None:
    job.write("train", "a.tsv", table((f"row {n}", str(n % 5)) for n in range(40)))
    job.write(name, "b.csv", "text,labels\na,1\n")
    with pytest.raises(
        DataError, match=rf"{name}/b.csv has no column .*'label'; did you mean 'labels'\? set label_colu"
    ):
        read(job, task=task)
    job.write(name, "b.csv", "text,label\na,1\nb,\n")
    if task == "multi_label":
        assert read(job, task=task).report["splits"][name]["without_label"] == 1
    else:
        with pytest.raises(DataError, match=f"{name}/b.csv line 3 has no value in column 'label'; fill it in or"):
            read(job, task=task)


def test_one_class_only_is_refused(job: Job) -> None:
    job.write("train", "a.tsv", table([("a", "5"), ("b", "5.0")]))
    with pytest.raises(DataError, match="all rows have the label '5'; a classifier needs at least two classes"):
        read(job)


def test_a_channel_of_empty_texts_is_refused(job: Job) -> None:
    job.write("train", "a.tsv", table([("", "1"), ("", "0")]))
    with pytest.raises(DataError, match="all texts of train are empty; set text_columns"):
        read(job)


@pytest.mark.parametrize(
    ("channel", "sentence"),
    [
        ("valid", "unknown channel 'valid'; did you mean validation?"),
        ("zzz", "unknown channel 'zzz'; valid names are train, validation, test, model"),
    ],
)
def test_a_wrong_channel_name_is_one_sentence(job: Job, channel: str, sentence: str) -> None:
    job.write(channel, "a.tsv", table(easy_rows(20)))
    with pytest.raises(SettingsError) as caught:
        read(job)
    assert str(caught.value) == sentence


def test_the_report_counts_what_is_there(job: Job) -> None:
    job.write("train", "a.tsv", table([("x" * n, str(n % 2)) for n in range(1, 101)]) + "short\n")
    job.write("validation", "a.tsv", table([("yes", "1"), ("", "0"), ("yes", "0")]))
    report = read(job, bad_rows="skip").report
    assert report["channels"]["train"] == {
        "rows": 100, "bad_rows": 1, "unmapped_labels": 0, "unlabelled": 0,
        "bad_row_examples": ["train/a.tsv line 102 has 1 field, the header has 2"],
    }  # fmt: skip
    assert report["splits"]["train"]["characters"] == {"mean": 50.5, "median": 50, "p90": 90, "p99": 99, "max": 100}
    assert report["splits"]["validation"] == {
        "rows": 3, "classes": {"0": 2, "1": 1}, "characters": {"mean": 2.0, "median": 3, "p90": 3, "p99": 3, "max": 3},
        "empty_texts": 1, "exact_duplicates": 1, "near_duplicates": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "rows", "validation", "reason"),
    [
        ({"metric_for_best_model": "roc_auc"}, "x,a\ny,b\n", "v,a\nu,a\n", "all of them are of one class"),
        ({"metric_for_best_model": "auprc"}, "x,a\ny,b\n", "v,a\nu,a\n", "all of them are of one class"),
        (
            {"metric_for_best_model": "roc_auc_macro", "task": "multi_label", "label_separator": "|"},
            "x,a|b\ny,b\n", "v,a\nu,a\n", "all of them have the same labels",
        ),
        (
            {"metric_for_best_model": "spearman", "task": "regression"},
            "x,1\ny,2\n", "v,1\nu,1\n", "all of them have the same label",
        ),
    ],
)  # fmt: skip
def test_a_metric_that_the_validation_rows_do_not_define_is_refused(
    job: Job, settings: dict[str, str], rows: str, validation: str, reason: str
) -> None:
    job.write("train", "a.csv", f"text,label\n{rows}")
    job.write("validation", "a.csv", f"text,label\n{validation}")
    with pytest.raises(SettingsError, match=f"is undefined for the validation rows, because {reason}; choose another"):
        read(job, **settings)
    assert read(job, **{name: value for name, value in settings.items() if name != "metric_for_best_model"})


def test_classes_that_the_sample_lacks_are_noted(job: Job) -> None:
    job.write("train", "a.csv", "text,label\n" + "".join(f"row {n},{n % 40}\n" for n in range(400)))
    with pytest.raises(DataError, match="^max_data_rows=20 leaves too few rows for a validation split"):
        read(job, max_data_rows="20")
    job.write("validation", "a.csv", "text,label\nv,1\nu,2\n")
    [note] = [note for note in read(job, max_data_rows="20").report["notes"] if note.startswith("train")]
    assert "so the model does not learn it" in note and "and 15 more" in note
    assert not [note for note in read(job, max_data_rows="80").report["notes"] if note.startswith("train")]


def test_rows_that_all_have_the_same_labels_are_refused(job: Job) -> None:
    job.write("train", "a.csv", 'text,label\nx,"a,b"\ny,"b,a"\nz,"a,b"\n')
    with pytest.raises(DataError, match=r"^all training rows have the same labels \(a, b\)"):
        read(job, task="multi_label")
