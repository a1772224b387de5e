from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from text_classifier.contract.errors import DataError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import Data, read_data
from text_classifier.reading.columns import Columns, SeveralLabels

Write = Callable[[str, str | bytes], Path]

AMAZON_TSV = (
    "marketplace customer_id review_id product_id product_parent product_title product_category star_rating "
    "helpful_votes total_votes vine verified_purchase review_headline review_body review_date"
)
AMAZON_2014 = "reviewerID asin reviewerName helpful reviewText overall summary unixReviewTime reviewTime"
AMAZON_2018 = f"{AMAZON_2014} verified style vote image"
AMAZON_2023 = "rating title text images asin parent_asin user_id timestamp helpful_vote verified_purchase"


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (AMAZON_TSV, "star_rating"),
        (AMAZON_2014, "overall"),
        (AMAZON_2018, "overall"),
        (AMAZON_2023, "rating"),
        ("text label", "label"),
        ("label rating overall text", "label"),
        ("title text label", "label"),
        ("text rating", "rating"),
    ],
)
def test_one_label_column_needs_no_setting(names: str, label: str) -> None:
    assert Columns().choose("a.csv", names.split()).labels == (label,)


@pytest.mark.parametrize(
    ("texts", "names", "possible"),
    [
        ("body", "body rating label", "rating, label"),
        ("body", "label body star_rating overall", "star_rating, overall, label"),
        ("", "title text rating label", "rating, label"),
        ("", f"{AMAZON_TSV} label", "star_rating, label"),
        ("", f"{AMAZON_2018} label", "overall, label"),
        ("", "text rating overall", "overall, rating"),
    ],
)
def test_several_label_columns_are_refused(texts: str, names: str, possible: str) -> None:
    columns = Columns((texts,) if texts else ())
    with pytest.raises(SeveralLabels) as refused:
        columns.choose("a.csv", names.split())
    assert str(refused.value) == (
        f"a.csv has several possible label columns ({possible}); set label_column to one of them"
    )
    for label in possible.split(", "):
        assert Columns(columns.texts, label).choose("a.csv", names.split()).labels == (label,)


def data(channel: Path, **settings: str) -> Data:
    return read_data({"train": channel}, parse({"train_size": "0.5", **settings}))


ROWS = [{"title": "a title", "text": f"text {n}", "rating": n % 5, "label": "ab"[n % 2]} for n in range(20)]
CSV = "".join(",".join(map(str, row)) + "\n" for row in (ROWS[0], *(row.values() for row in ROWS)))
REFUSED = r"a\.txt has several possible label columns \(rating, label\); set label_column to one of them"


@pytest.mark.parametrize("content", [CSV, json.dumps(ROWS), json.dumps(ROWS[0], indent=1)], ids=["csv", "array", "row"])
def test_files_with_several_label_columns_are_refused_in_each_format(channel: Write, content: str) -> None:
    with pytest.raises(DataError, match=f"^train/{REFUSED}$"):
        data(channel("a.txt", content))


def test_a_table_with_several_label_columns_is_no_text_and_its_header_is_found(channel: Write) -> None:
    channel("2020/a.txt", CSV)
    folder = channel("2021/a.txt", CSV).parent
    with pytest.raises(DataError, match=f"^train/2020/{REFUSED}$"):
        data(folder)
    assert data(folder, label_column="label").classes == ("a", "b")
    with pytest.raises(DataError, match="the header is line 2, not line 1; remove the lines above it"):
        data(channel("a.csv", "Exported on Monday\n" + CSV) / "a.csv")
