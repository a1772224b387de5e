"""For Python and notebooks: `from launcher import estimator, upload, check, doctor`.

They take the options of train.yaml as keyword arguments, and read train.yaml (or the file `config`) beneath them. A
mistake in them raises UserError with one sentence.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli import arguments
from launcher.cli.options import AWS_JOB, CHANNELS
from launcher.local import engine, image_commands
from launcher.plan import inputs, limits, submission
from text_classifier.contract.errors import UserError

if TYPE_CHECKING:
    from launcher.aws.finding import Finding
    from launcher.sdk.estimators import Estimator, TrainingInput

LOCAL_TYPES = ("local", "local_gpu")

#: The options that name rows.
_DATA = tuple(name for name in CHANNELS if name != "model")


def estimator(config: Path | str | None = None, **options: Any) -> Estimator:
    """The SageMaker SDK's generic Estimator for this image.

        reviews = estimator(image=URI, role=ROLE, instance_type="ml.g5.xlarge", hyperparameters={"epochs": 2})
        reviews.fit({"train": "s3://bucket/reviews/"})

    Hyperparameters, metric definitions, spot instances and their checkpoints, VPC, keys and tags are filled in from the
    options, whose units are those of train.yaml: seconds for `max_run`, `max_wait` and `keep_alive`, GB for
    `volume_size`. `fit`, `attach`, HyperparameterTuner and `deploy` are the SDK's own. With `spot` each estimator has
    one checkpoint folder: create one per job.

    With instance_type="local", `fit({"train": "file:///folder/"})` trains in containers on this machine, without
    credentials; image and role have defaults then, and model.tar.gz and output.tar.gz are in the folder that
    `output_path` names. Local mode refuses spot instances.

    Raises UserError for an option that is unknown, missing or wrong, and without version 2 of the SDK, and Refused
    without credentials.
    """
    given = _options("estimator()", config, options, [name for name in AWS_JOB if name not in _DATA])
    if given.instance_type in LOCAL_TYPES:
        return _local_estimator(given)
    _require("estimator()", given, "image", "role")
    for name in _DATA:
        if name in options:
            raise UserError(f"estimator() takes no {name}; give the data to fit, as in fit(upload({name}=...))")
    submission.check(given)
    from launcher.aws import client, jobs

    estimators = jobs.sdk_estimators()
    if estimators is None:
        raise UserError("version 2 of the SageMaker SDK is not installed in this Python; run `make venv` and use .venv")
    region = submission.region_of(given)
    with client.one_sentence():
        session = estimators.session(client.session_in(region), client.create("sagemaker", region))
    job = submission.request_of(given, submission.job_name(given), {})
    limits.check(job)
    return estimators.from_request(job, session, base_job_name=given.base_job_name)


def _local_estimator(options: Any) -> Estimator:
    engine.require_engine()
    from launcher.local import estimator as local

    options.image = options.image or engine.LOCAL_IMAGE
    engine.require_image(options.image)
    return local.create(options)


def upload(config: Path | str | None = None, **options: Any) -> dict[str, TrainingInput]:
    """Upload `data`, `validation`, `test` and `model` to S3, as `launch.py train` does, and return them for `fit`.

        reviews.fit(upload(data="reviews.tsv", image=URI, role=ROLE))

    What S3 has already is not sent again. Raises UserError for a path without rows, Refused for what AWS refuses.
    """
    from launcher.aws import client, storage
    from launcher.sdk import estimators

    given = _options("upload()", config, options)
    _require("upload()", given, "image", "role")
    if not inputs.local_paths(given) and not inputs.s3_sources(given):
        raise UserError("upload() needs data, validation, test or model; give it here or in train.yaml")
    job = submission.create(given)
    with client.one_sentence():
        storage.upload_all(client.create("s3", job.region), job)
    return estimators.inputs_of(job.request)


def check(config: Path | str | None = None, image: str = engine.LOCAL_IMAGE, **options: Any) -> dict[str, Any]:
    """Check the data as a job would, in the image on this machine, and return its data_report.json.

    `options` are the channels and `hyperparameters`. Prints the summary of `launch.py check`. Raises Refused with the
    sentence of the check, UserError without Docker, the image or the data.
    """
    given = _options("check()", config, options, _DATA)
    with tempfile.TemporaryDirectory(prefix="data-check-") as folder:
        image_commands.check(image, inputs.channel_paths(given), given.hyperparameters, Path(folder))
        report: dict[str, Any] = json.loads((Path(folder) / "data_report.json").read_text(encoding="utf-8"))
    return report


def doctor(config: Path | str | None = None, **options: Any) -> list[Finding]:
    """The findings of `launch.py doctor`: `check`, `level` ("ok", "warning" or "failed") and `text` with the remedy."""
    from launcher.aws import doctor

    with contextlib.redirect_stdout(sys.stderr):
        return doctor.report(_options("doctor()", config, options), prints=False)


def _require(caller: str, given: Any, *names: str) -> None:
    for name in names:
        if not getattr(given, name):
            raise UserError(f"{caller} needs {name}; give it here or in train.yaml")


def _options(caller: str, config: Path | str | None, options: dict[str, Any], of_file: Sequence[str] = AWS_JOB) -> Any:
    return arguments.from_values(caller, options, Path(config) if config else None, of_file)
