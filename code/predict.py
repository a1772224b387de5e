#!/opt/venv/bin/python
"""The image's `predict` command: classifies the rows of a file of any size with a model that the image has trained.

predict --model DIR --data new.csv --output scores.csv
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from text_classifier.contract import redaction, schema
from text_classifier.contract.errors import DataError, JobError, SettingsError, describe, scarce
from text_classifier.contract.hyperparameters import TABLE
from text_classifier.contract.schema import Manifest
from text_classifier.contract.trained import has_pairs, read_manifest, truncation_of
from text_classifier.reading.channel import read_texts
from text_classifier.reading.columns import Columns, names_of
from text_classifier.reading.options import READING, file_options, with_defaults
from text_classifier.reading.permissions import stat_of
from text_classifier.reading.table import column_name
from text_classifier.runtime.cpus import thread_variables
from text_classifier.runtime.stop import end_when_stopped

#: Rows in memory at a time; batches are sorted by length within them.
CHUNK = 4_096

SECONDS_BETWEEN_LINES = 10.0


def main(arguments: Sequence[str]) -> int:
    """Classify. Returns the exit code. The output file is written completely or not at all."""
    options = _parser().parse_args(arguments)
    end_when_stopped()
    aside = options.output.with_name(options.output.name + ".writing")
    try:
        manifest = _manifest(options.model)
        if options.calibrated and manifest["temperature"] is None:
            raise SettingsError(
                "the model has no temperature (training was stopped, or the task has none); remove --calibrated"
            )
        if options.fitted_thresholds and set(manifest.get("thresholds") or ()) != set(manifest["classes"]):
            raise SettingsError(
                "the model has no fitted thresholds (training was stopped, or was not asked to fit any); train with "
                "thresholds=fitted, or remove --fitted-thresholds"
            )
        _require_writable(options.output, aside)
        rows = _classify(options, manifest, aside)
        aside.replace(options.output)
        print(f"{options.output.name}: {rows} rows classified", flush=True)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not isinstance(error, JobError) and not scarce(error):
            raise
        print(describe(error), file=sys.stderr, flush=True)
        return 1
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict", description="Classify the texts of a file.", allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True, help="folder that model.tar.gz was unpacked to")
    parser.add_argument("--data", type=Path, required=True, help="file as for training; labels are not needed")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="CSV file: row, id, predicted, and the probability of each class",
    )
    for row in TABLE:
        if row.name in READING:
            flag = f"--{row.name.replace('_', '-')}"
            parser.add_argument(flag, f"--{row.name}", dest=row.name, help=f"{row.help} (default: as in training)")
    parser.add_argument("--batch-size", type=_rows, default=128, help="rows per batch (default 128)")
    parser.add_argument(
        "--calibrated", action="store_true", help="divide the logits by the temperature fitted on the validation rows"
    )
    parser.add_argument(
        "--fitted-thresholds",
        action="store_true",
        help="predict the labels above the thresholds fitted on the validation rows, not above 0.5",
    )
    return parser


def _rows(text: str) -> int:
    """A number of rows. Raises argparse's error."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows; give 1 or more")
    return int(text)


def _manifest(model: Path) -> Manifest:
    try:
        return read_manifest(model)
    except (OSError, ValueError):
        raise SettingsError(
            f"--model {model} has no readable {schema.MANIFEST}; give the folder of an unpacked model.tar.gz"
        ) from None


def _require_writable(output: Path, aside: Path) -> None:
    try:
        if output.is_dir():
            raise SettingsError(f"--output {output} is a folder; give a file")
        aside.touch()
    except OSError as error:
        raise SettingsError(
            f"--output cannot be written to {output.parent} ({error.strerror}); choose another"
        ) from None


def _classify(options: argparse.Namespace, manifest: Manifest, output: Path) -> int:
    """Write the predictions chunk by chunk. Returns the number of rows."""
    found = stat_of(options.data)
    if not found or not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"--data {options.data} is not a file; name the file with the rows to classify")
    given = {row.name: row.read(text) for row in TABLE if (text := getattr(options, row.name, None)) is not None}
    settings = with_defaults(manifest["hyperparameters"]) | given
    columns = Columns(
        names_of(settings["text_columns"], "text_columns"),
        id=column_name(settings["id_column"]),
        requires_id="id_column" in given,
        pairs=names_of(settings["text_pair_columns"], "text_pair_columns"),
    )
    if bool(columns.pairs) != has_pairs(manifest):
        trained_on = "pairs of texts" if has_pairs(manifest) else "single texts"
        raise SettingsError(f"the model was trained on {trained_on}; correct --text-pair-columns, or remove it")
    texts = read_texts(options.data, columns, file_options(settings))
    chunk = list(islice(texts, CHUNK))  # before the heavy imports: most mistakes show up here
    if not chunk:
        raise DataError(f"{options.data} has no rows; give it a header and at least one row")
    from text_classifier.results.cells import row_writer

    has_ids = any(row.id is not None for row in chunk)
    header, cells_of = _load(options, manifest, has_ids=has_ids)
    done, line_due = 0, time.monotonic() + SECONDS_BETWEEN_LINES
    with output.open("w", encoding="utf-8", newline="") as file:
        write_row = row_writer(file)
        write_row(header)
        while chunk:
            for row, cells in zip(chunk, cells_of([row.text for row in chunk]), strict=True):
                write_row([row.place, *([row.id or ""] if has_ids else []), *cells])
            done += len(chunk)
            if time.monotonic() > line_due:
                line_due = time.monotonic() + SECONDS_BETWEEN_LINES
                print(f"{done} rows", file=sys.stderr, flush=True)
            chunk = list(islice(texts, CHUNK))
    return done


def _load(
    options: argparse.Namespace, manifest: Manifest, *, has_ids: bool
) -> tuple[list[str], Callable[[list[str]], Iterable[list[str]]]]:
    """The CSV header, and the model as a function from texts to CSV cells; it runs exactly as in evaluation."""
    from text_classifier.modeling.load import load_classifier
    from text_classifier.results.answers import answers
    from text_classifier.runtime.hosts import Hosts
    from text_classifier.runtime.stop import StopSignal
    from text_classifier.tasks.registry import task_of
    from text_classifier.tokenization.tokens import tokenize
    from text_classifier.tokenization.windows import window_stride
    from text_classifier.training.batches import Split
    from text_classifier.training.cluster import Cluster
    from text_classifier.training.inference import predict

    settings, classes = manifest["hyperparameters"], tuple(manifest["classes"])
    task = task_of(settings)
    if options.fitted_thresholds:
        thresholds = manifest["thresholds"]
        assert thresholds is not None  # main has checked it
        task = task.with_thresholds([thresholds[name] for name in classes])
    shown = answers(task)
    length = settings["max_sequence_length"]
    cluster = Cluster(Hosts.from_resources({}), settings["collective_timeout_seconds"])
    precision = settings["precision"]
    tokenizer, classifier = load_classifier(
        options.model, classes, task.problem_type, length, precision, cluster.device
    )
    temperature = manifest["temperature"] if options.calibrated else None

    def cells_of(texts: list[str]) -> Iterable[list[str]]:
        is_pair, truncation = has_pairs(manifest), truncation_of(manifest)
        stride = window_stride(settings)
        tokens = tokenize(tokenizer, texts, length, stride=stride, is_pair=is_pair, truncation=truncation)
        split = Split(tokens, np.zeros(len(texts), dtype=np.int64))
        logits = predict(classifier, split, options.batch_size, cluster, StopSignal(), setting="--batch-size")
        assert logits is not None  # the stop signal is never set
        return shown.cells(logits, classes, temperature or 1.0)

    return shown.header(classes, has_ids=has_ids, has_labels=False), cells_of


if __name__ == "__main__":
    redaction.install()
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model is a local folder
    os.environ |= thread_variables() | os.environ  # read when torch is imported; variables that the user has set win
    sys.exit(main(sys.argv[1:]))
