"""The generator of review files that the benchmark and other tests rest on."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from support import ROOT, amazon_reviews
from text_classifier.contract.hyperparameters import Settings
from text_classifier.dataset.load import read_data

MODEL = ROOT / "build" / "demo" / "model"


def test_lengths_and_stars_are_those_of_the_amazon_books() -> None:
    rows = list(amazon_reviews.reviews(4_000))
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    lengths = [len(ids) for ids in tokenizer([f"{headline} {body}" for _, headline, body in rows])["input_ids"]]
    assert np.mean(lengths) == pytest.approx(132, rel=0.1)
    assert np.percentile(lengths, [50, 90, 99]) == pytest.approx([68, 305, 869], rel=0.15)
    assert Counter(stars for stars, _, _ in rows)[5] / len(rows) == pytest.approx(0.61, abs=0.03)


@pytest.mark.parametrize("kind", amazon_reviews.FORMATS)
def test_each_format_is_read_without_a_setting_and_a_seed_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    amazon_reviews.write(tmp_path / "reviews.gz", 300, kind)
    amazon_reviews.write(tmp_path / "again", 300, kind)
    assert gzip.decompress((tmp_path / "reviews.gz").read_bytes()) == (tmp_path / "again").read_bytes()
    data = read_data({"train": tmp_path / "reviews.gz"}, Settings())
    found = {
        (text, data.classes[index])
        for rows in data.splits.values()
        for text, index in zip(rows.texts, rows.targets, strict=True)
    }
    expected = ((f"{headline} {body}".strip(), str(stars)) for stars, headline, body in amazon_reviews.reviews(300))
    assert found == set(expected)
