"""A batch transform job as plain data: a model, a job, and what it costs. No SDK, no network, no credentials."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from launcher.plan import checks, endpoint, limits, prices
from launcher.plan.endpoint import Source
from launcher.plan.s3 import S3Uri
from launcher.plan.submission import region_of
from text_classifier.contract.errors import UserError

CSV, JSON_LINES, PLAIN = "text/csv", "application/jsonlines", "text/plain"
#: The types of the records, by option and file extension.
FORMATS: Mapping[str, str] = {
    "csv": CSV,
    "jsonl": JSON_LINES,
    "jsonlines": JSON_LINES,
    "ndjson": JSON_LINES,
    "txt": PLAIN,
}

#: MB of one request of SageMaker to the container: thousands of texts, which a CPU classifies within minutes.
DEFAULT_MAX_PAYLOAD = 1
#: The most that SageMaker waits for a response.
_TIMEOUT_SECONDS = 3600
_RETRIES = 3
#: Two requests at a time: the texts of one are tokenized while those of the other are classified.
_CONCURRENT = 2
#: AWS: at most 100 MB for all requests at a time.
_MOST_PAYLOAD = 100 // _CONCURRENT


@dataclass(frozen=True)
class Transform:
    """The requests that create a model and a transform job, both with the same name."""

    name: str
    region: str
    model: dict[str, Any]
    job: dict[str, Any]

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """The requests by operation, in order."""
        return {"CreateModel": self.model, "CreateTransformJob": self.job}

    @property
    def output(self) -> str:
        """The S3 URI of the folder of the scores."""
        return str(self.job["TransformOutput"]["S3OutputPath"])

    def summary(self, price: float | None) -> str:
        """Lines with what is classified, as whom, and what it costs."""
        resources = self.job["TransformResources"]
        return "\n".join(
            [
                f"transform  {self.name} in {self.region}, as {self.model['ExecutionRoleArn']}",
                f"model      {self.model['PrimaryContainer']['ModelDataUrl']}",
                f"image      {self.model['PrimaryContainer']['Image']}",
                f"data       {self.job['TransformInput']['DataSource']['S3DataSource']['S3Uri']}",
                f"scores     {self.output}",
                f"runs on    {resources['InstanceCount']} x {resources['InstanceType']}",
                f"bill       {self.bill(price)}",
            ]
        )

    def bill(self, given: float | None) -> str:
        """What the job costs, in words: its time is not known before."""
        resources = self.job["TransformResources"]
        price = prices.find(resources["InstanceType"], self.region, given)
        if price is None:
            return "price unknown; give that of one instance per hour with --price"
        per_hour = price.per_hour * resources["InstanceCount"]
        return f"{price.currency or ''} {per_hour:g} per hour while it runs; price from {price.source}".strip()


def create(options: argparse.Namespace, source: Source, name: str, data: S3Uri, content_type: str) -> Transform:
    """Check the options and create the requests. Raises UserError.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
    """
    model = endpoint.model_request(options, source, name)
    instance_type = endpoint.instance_type_of(options)
    checks.volume_key(options.volume_kms_key, instance_type)
    if options.max_payload > _MOST_PAYLOAD:
        raise UserError(f"--max-payload {options.max_payload} is too high; the maximum is {_MOST_PAYLOAD} MB")
    given = dict(options.environment or ())
    # Waiting is not overload here: SageMaker sends two requests at a time, and the second may wait for the first.
    settings = {"SERVE_BAD_RECORDS": "mark", "SERVE_MAX_WAIT_SECONDS": str(_TIMEOUT_SECONDS)}
    output: dict[str, Any] = {
        "S3OutputPath": str(_output(options, source, name)),
        "Accept": JSON_LINES if content_type == PLAIN else content_type,
        "AssembleWith": "Line",
    }
    if options.kms_key:
        output["KmsKeyId"] = options.kms_key
    resources: dict[str, Any] = {"InstanceType": instance_type, "InstanceCount": options.count or 1}
    if options.volume_kms_key:
        resources["VolumeKmsKeyId"] = options.volume_kms_key
    job = {
        "TransformJobName": name,
        "ModelName": name,
        "MaxConcurrentTransforms": _CONCURRENT,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": _TIMEOUT_SECONDS, "InvocationsMaxRetries": _RETRIES},
        "MaxPayloadInMB": options.max_payload,
        "BatchStrategy": "MultiRecord",
        "Environment": {key: value for key, value in settings.items() if key not in given},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": str(data)}},
            "ContentType": content_type,
            "SplitType": "Line",
        },
        "TransformOutput": output,
        "TransformResources": resources,
        "Tags": model["Tags"],
    }
    if not job["Environment"]:
        del job["Environment"]
    transform = Transform(name, region_of(options), model, job)
    limits.check_all(transform.requests)
    return transform


def bucket_of(source: Source) -> str:
    """The bucket of the model, which its role can read and write."""
    return source.model_data.removeprefix("s3://").partition("/")[0]


def _output(options: argparse.Namespace, source: Source, name: str) -> S3Uri:
    if options.output is None:
        return S3Uri(bucket_of(source), f"transform/{name}/")
    if not isinstance(options.output, S3Uri):
        raise UserError(f"--output {options.output} is not in S3; write it like s3://bucket/folder/")
    return options.output.as_folder


def type_of(names: Iterable[str], given: str | None) -> str:
    """The type of the records in files of these names; `given` is the name of a format. Raises UserError."""
    if given:
        if given not in FORMATS:
            raise UserError(f"--format {given} is unknown; give one of {', '.join(FORMATS)}")
        return FORMATS[given]
    found = {PurePosixPath(name).suffix.lower().removeprefix(".") for name in names}
    if unknown := sorted(found - FORMATS.keys()):
        what = f".{unknown[0]}" if unknown[0] else "files without an extension"
        raise UserError(
            f"batch transform cannot read {what}; give .csv, .jsonl or .txt, or name the records' format with --format"
        )
    types = {FORMATS[each] for each in found}
    if len(types) != 1:
        raise UserError(f"--data has files of several formats ({', '.join(sorted(found))}); give one format per job")
    return types.pop()


def check_files(files: Mapping[str, Path], content_type: str, max_payload: int) -> None:
    """Raise UserError for a file that batch transform cannot split into lines: it would fail as a whole."""
    for name, file in files.items():
        if not file.stat().st_size:
            raise UserError(f"{name} is empty; remove it, or give a file with records")
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if len(line) > max_payload << 20:
                    raise UserError(
                        f"line {number} of {name} is longer than {max_payload} MB; raise --max-payload, or shorten it"
                    )
        if content_type == CSV and (line_number := _line_feed_in_field(file)):
            raise UserError(
                f"line {line_number} of {name} has a field that continues on the next line, which batch transform "
                "cannot split; remove the line feed, or give JSON lines"
            )


def _line_feed_in_field(file: Path) -> int | None:
    """The number of the first line of the first record that has several; None if each has one."""
    csv.field_size_limit(1 << 30)
    with file.open(encoding="utf-8", errors="replace", newline="") as text:
        reader, end = csv.reader(text, strict=True), 0
        try:
            for _ in reader:
                if reader.line_num > end + 1:
                    return end + 1
                end = reader.line_num
        except csv.Error:
            return None  # the server answers such a line by an error
    return None
