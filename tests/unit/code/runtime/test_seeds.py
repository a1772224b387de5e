from __future__ import annotations

from text_classifier.runtime.seeds import SeedStream


def test_the_streams_keep_their_values() -> None:
    """With another value a job with the same seed gives other results."""
    assert {name: stream.value for name, stream in SeedStream.__members__.items()} == {
        "ROW_SAMPLE": 0, "SPLIT": 1, "EPOCH_ORDER": 2, "SPLIT_INTERVALS": 3, "BASELINE_ROWS": 4, "SLICE_INTERVALS": 4,
        "BASELINE_INTERVALS": 5, "LENGTH_SAMPLE": 6, "FOLDS": 7, "CALIBRATION_FOLDS": 20,
    }  # fmt: skip
