"""Names of the random streams that are derived from a job's seed: `default_rng((seed, stream))`."""

from enum import IntEnum


class SeedStream(IntEnum):
    """A new use of random numbers gets a new value. A changed value changes the results of every job."""

    ROW_SAMPLE = 0  #: max_data_rows
    SPLIT = 1
    EPOCH_ORDER = 2  #: with the epoch as third part of the seed
    SPLIT_INTERVALS = 3
    # Two unrelated uses share 4, because a new value for one of them would change published results.
    BASELINE_ROWS = 4
    SLICE_INTERVALS = 4
    BASELINE_INTERVALS = 5
    LENGTH_SAMPLE = 6  #: rows whose untruncated length the report shows
    FOLDS = 7  #: cross_validation
    CALIBRATION_FOLDS = 20  #: rows of each fold by which a temperature is judged
