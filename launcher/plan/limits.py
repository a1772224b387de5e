"""The limits of AWS's API: a request that AWS would refuse is refused before anything is uploaded or created.

Patterns, allowed values and sizes are those of botocore's service model; DOCUMENTED has what is in the API's
documentation only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from text_classifier.contract.errors import UserError, similar

#: Seconds: 28 days.
MAX_RUN_SECONDS = 28 * 24 * 60 * 60

#: What the user wrote, by the start of a path in the request. `{}` is the next part of the path.
_WRITTEN = {
    "TrainingJobName": "--job-name",
    "HyperParameterTuningJobName": "--job-name",
    "RoleArn": "--role",
    "AlgorithmSpecification.TrainingImage": "--image",
    "HyperParameters": "hyperparameter {}",
    "StaticHyperParameters": "hyperparameter {}",
    "Environment": "--environment {}",
    "Tags": "--tag",
    "InputDataConfig": "the URI of a channel",
    "OutputDataConfig.KmsKeyId": "--kms-key",
    "OutputDataConfig": "--bucket or --base-job-name",
    "CheckpointConfig": "--bucket or --base-job-name",
    "ResourceConfig.VolumeKmsKeyId": "--volume-kms-key",
    "ResourceConfig.InstanceType": "--instance-type",
    "ResourceConfig.InstanceCount": "--instance-count",
    "ResourceConfig.VolumeSizeInGB": "--volume-size",
    "ResourceConfig.KeepAlivePeriodInSeconds": "--keep-alive",
    "StoppingCondition.MaxRuntimeInSeconds": "--max-run",
    "StoppingCondition.MaxWaitTimeInSeconds": "--max-wait",
    "VpcConfig.Subnets": "--subnet",
    "VpcConfig.SecurityGroupIds": "--security-group",
    "HyperParameterTuningJobConfig.ResourceLimits.MaxNumberOfTrainingJobs": "--max-jobs",
    "HyperParameterTuningJobConfig.ResourceLimits.MaxParallelTrainingJobs": "--max-parallel-jobs",
    "HyperParameterTuningJobConfig.ParameterRanges": "ranges",
    "ModelName": "--name",
    "TransformJobName": "--name",
    "ExecutionRoleArn": "--role",
    "PrimaryContainer.Image": "--image",
    "PrimaryContainer.ModelDataUrl": "the URI of the model",
    "PrimaryContainer.Environment": "--environment {}",
    "ProductionVariants.0.InstanceType": "--instance-type",
    "ProductionVariants.0.InitialInstanceCount": "--count",
    "DataCaptureConfig.DestinationS3Uri": "--capture",
    "DataCaptureConfig.InitialSamplingPercentage": "--capture-percent",
    "TransformInput": "--data",
    "TransformOutput.KmsKeyId": "--kms-key",
    "TransformOutput": "--output",
    "TransformResources.InstanceType": "--instance-type",
    "TransformResources.InstanceCount": "--count",
    "TransformResources.VolumeKmsKeyId": "--volume-kms-key",
    "MaxPayloadInMB": "--max-payload",
}
#: A tuning job has a training job inside, with one key renamed.
_INSIDE = "TrainingJobDefinition."
_RENAMED = "HyperParameterTuningResourceConfig"

#: Python's re has no Unicode classes for letters, separators and numbers.
_CLASSES = {
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",  # pairs of surrogates
    r"\p{Print}": r"[^\x00-\x1f\x7f]",
    r"\p{L}\p{Z}\p{N}": r"\w \xa0\u1680\u2000-\u200a\u202f\u205f\u3000",
    r"[\P{M}\p{M}]": r"[\s\S]",
}
_SHOWN_CHARACTERS = 60


def check(request: Mapping[str, Any]) -> None:
    """Raise UserError for the first value of the request, of a training or a tuning job, that AWS would refuse.

    Without botocore a warning is printed, and what is documented is checked alone.
    """
    operation = "CreateHyperParameterTuningJob" if "TrainingJobDefinition" in request else "CreateTrainingJob"
    for path, problem in (*_documented(request), *violations(request, operation)):
        raise UserError(f"{_written(path)} {problem}")


def check_all(requests: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError for the first value of these requests, by operation, that AWS would refuse."""
    for operation, request in requests.items():
        service = "application-autoscaling" if operation in _OF_AUTOSCALING else "sagemaker"
        for path, problem in (*_reserved_tags(request), *violations(request, operation, service)):
            raise UserError(f"{_written(path)} {problem}")


#: All other operations are those of SageMaker.
_OF_AUTOSCALING = ("RegisterScalableTarget", "PutScalingPolicy")


def violations(request: Mapping[str, Any], operation: str, service: str = "sagemaker") -> Iterator[tuple[str, str]]:
    """The path and the problem of each value that the service model does not allow."""
    try:
        from botocore.loaders import Loader
        from botocore.model import ServiceModel
    except ImportError as error:
        print(
            f"WARNING: {error.name} is not installed in this Python, so the limits of AWS are not checked; run `make "
            "venv` and use .venv/bin/python launch.py",
            file=sys.stderr,
        )
        return
    model = ServiceModel(Loader().load_service_model(service, "service-2"))
    yield from _walk(request, model.operation_model(operation).input_shape, "")


def _walk(value: Any, shape: Any, path: str) -> Iterator[tuple[str, str]]:
    if shape.type_name == "structure":
        for key, item in value.items():
            yield from _walk(item, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _walk(key, shape.key, f"{path}.{key}")
            yield from _walk(item, shape.value, f"{path}.{key}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from _walk(item, shape.member, f"{path}.{index}")
    for problem in _PROBLEMS.get(shape.type_name, _size)(value, shape):
        yield path.removeprefix("."), problem


def _text(value: str, shape: Any) -> Iterator[str]:
    shown = repr(value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}...")
    most, least = shape.metadata.get("max", len(value)), shape.metadata.get("min", 0)
    if len(value) > most:
        yield f"is {len(value):,} characters long, but AWS allows {most:,}; shorten it"
    if len(value) < least:
        yield f"{shown} is too short; AWS needs at least {least} character(s)"
    pattern = shape.metadata.get("pattern", "")
    for written, python in _CLASSES.items():
        pattern = pattern.replace(written, python)
    if pattern and not re.fullmatch(pattern, value) and re.search(r"[\r\n\t]", value):
        yield f"{shown} has a line break or a tab, which AWS does not allow here; remove it"
    elif pattern and not re.fullmatch(pattern, value):
        several = "; give each with a flag of its own" if "," in value else "; correct it"
        yield f"{shown} has characters that AWS does not allow here, it must match {shape.metadata['pattern']}{several}"
    if shape.enum and value not in shape.enum:
        meant = similar(value, shape.enum)
        yield f"{shown} is unknown to AWS; " + (f"did you mean {meant}?" if meant else "correct it, or update boto3")


def _number(value: float, shape: Any) -> Iterator[str]:
    least, most = shape.metadata.get("min", value), shape.metadata.get("max", value)
    if not least <= value <= most:
        yield f"{value} is out of range; AWS allows {least} to {most}"


def _size(value: Any, shape: Any) -> Iterator[str]:
    size = len(value) if isinstance(value, list | dict) else 0
    if size > (most := shape.metadata.get("max", size)):
        yield f"has {size} values, but AWS allows {most}; remove some"


_PROBLEMS: Mapping[str, Callable[[Any, Any], Iterator[str]]] = {
    "string": _text, "integer": _number, "long": _number, "float": _number, "double": _number,
}  # fmt: skip


def _documented(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Sources: CreateTrainingJob, StoppingCondition and Tag in the API reference, and AWS's rules for tags."""
    job = request.get("TrainingJobDefinition", request)
    for key in ("MaxRuntimeInSeconds", "MaxWaitTimeInSeconds"):
        seconds = job["StoppingCondition"].get(key, 0)
        if seconds > MAX_RUN_SECONDS:
            yield (
                f"StoppingCondition.{key}",
                f"{seconds} is out of range; AWS allows 28 days ({MAX_RUN_SECONDS})",
            )
    yield from _reserved_tags(request)


def _reserved_tags(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for tag in request.get("Tags", ()):
        if tag["Key"].lower().startswith("aws:"):
            yield "Tags", f"{tag['Key']!r} begins with aws:, which AWS keeps for itself; give it another name"


def _written(path: str) -> str:
    path = path.removeprefix(_INSIDE).replace(_RENAMED, "ResourceConfig")
    for start, written in _WRITTEN.items():
        if path.startswith(start):
            rest = path.removeprefix(f"{start}.").split(".")[0] if path != start else ""
            return written.replace(" {}", f" {rest}" if rest else "")
    return path
