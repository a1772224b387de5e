"""Every call into the SageMaker SDK and boto3, and the traps of both.

Version 2 of the SDK ends in July 2027. What it is given is the plain data of launcher/request.py, so another
back end replaces this module only. Import it where it is used: that takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from failures import UserError
from launcher.signals import Interrupted

os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
# What the SDK logs, it also raises; it talks while it is imported, too.
logging.disable(logging.INFO)
logging.getLogger("sagemaker").setLevel(logging.CRITICAL)

try:
    import boto3
    import botocore.credentials
    import botocore.exceptions
    import botocore.session
    import sagemaker.local.image
    import sagemaker.utils
    from boto3.exceptions import S3UploadFailedError
    from sagemaker.estimator import Estimator
    from sagemaker.exceptions import UnexpectedStatusException
    from sagemaker.local.local_session import LocalSession
    from sagemaker.session import Session
except ImportError as error:
    raise UserError(
        f"{error.name} is not installed in this Python; run `make venv`, then .venv/bin/python launch.py"
    ) from None

#: Given to every session, so that neither telemetry nor defaults files of the SDK change what is sent.
SDK_CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}

#: Local mode asks for a region and a role and uses neither.
LOCAL_REGION = "us-east-1"
LOCAL_ROLE = "arn:aws:iam::000000000000:role/local-mode"

#: DataLoader workers hand batches over in /dev/shm; Docker's own 64 MB are too few.
_SHARED_MEMORY = "512m"

#: Compose begins a line with `\x1b[36molyvqza4ph-algo-1-4z3pk |\x1b[0m `; `algo-1 | ` says it all.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTAINER = re.compile(r"^\w{10}-(algo-\d+)-\w{5}\s+\| ?")

_REMEDIES = {
    "ExpiredToken": "log in again",
    "ExpiredTokenException": "log in again",
    "AccessDenied": "ask for that permission",
    "AccessDeniedException": "ask for that permission",
    "ResourceLimitExceeded": "ask for a higher quota under Service Quotas, or take another --instance-type",
}


def _take_as_checked(sagemaker_config: dict[Any, Any] | None = None) -> None:
    """Stands in for the SDK's check of a session's settings, which it repeats at each look: 20 times, 4 s in all.

    The check when the session is made stays.
    """


vars(sagemaker.utils).update(validate_sagemaker_config=_take_as_checked)


class LocalModeError(Exception):
    """Local mode ended without success; the message says in one line what the SDK said."""


@dataclass(frozen=True)
class Outcome:
    """How a job in AWS ended: `status` is Completed, Failed or Stopped."""

    status: str
    reason: str
    model: str


def estimator(request: Mapping[str, Any], session: Session) -> Estimator:
    """Make the Estimator that sends this request."""
    algorithm, resources = request["AlgorithmSpecification"], request["ResourceConfig"]
    return Estimator(
        image_uri=algorithm["TrainingImage"],
        role=request["RoleArn"],
        instance_count=resources["InstanceCount"],
        instance_type=resources["InstanceType"],
        volume_size=resources["VolumeSizeInGB"],
        max_run=request["StoppingCondition"]["MaxRuntimeInSeconds"],
        max_wait=request["StoppingCondition"].get("MaxWaitTimeInSeconds"),
        use_spot_instances=request.get("EnableManagedSpotTraining", False),
        checkpoint_s3_uri=request.get("CheckpointConfig", {}).get("S3Uri"),
        input_mode=algorithm["TrainingInputMode"],
        output_path=request["OutputDataConfig"]["S3OutputPath"],
        hyperparameters=request.get("HyperParameters"),
        metric_definitions=algorithm["MetricDefinitions"],
        debugger_hook_config=False,
        disable_profiler=request["ProfilerConfig"]["DisableProfiler"],
        sagemaker_session=session,
    )


def fit(request: Mapping[str, Any], session: Session) -> None:
    """Start the job and follow its log to the end."""
    inputs = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]
    }
    estimator(request, session).fit(inputs, job_name=request["TrainingJobName"])


# -- AWS


def train(request: Mapping[str, Any], region: str, channels: Mapping[str, Path], bucket_owner: str | None) -> Outcome:
    """Upload the channels to where the request reads them, run the job, and say how it ended.

    A missing bucket is created when `bucket_owner`, the account number, is given.
    """
    with _one_sentence_for_aws_errors():
        session = Session(boto_session=boto3.Session(region_name=region), sagemaker_config=SDK_CONFIG)
        bucket = urlparse(request["OutputDataConfig"]["S3OutputPath"]).netloc
        _require_bucket(session.boto_session.client("s3"), bucket, region, bucket_owner)
        for channel in request["InputDataConfig"]:
            uri = urlparse(channel["DataSource"]["S3DataSource"]["S3Uri"])
            path = channels[channel["ChannelName"]]
            print(f"Uploading {path} to {uri.geturl()}", flush=True)
            session.upload_data(str(path), bucket=uri.netloc, key_prefix=uri.path.strip("/"))
        with contextlib.suppress(UnexpectedStatusException):
            fit(request, session)  # a failed job is an outcome, read below
        return _outcome(session.sagemaker_client.describe_training_job(TrainingJobName=request["TrainingJobName"]))


def _outcome(description: Mapping[str, Any]) -> Outcome:
    return Outcome(
        status=description["TrainingJobStatus"],
        reason=description.get("FailureReason") or f"its last status is {description.get('SecondaryStatus')}",
        model=description.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
    )


def _require_bucket(s3: Any, bucket: str, region: str, owner: str | None) -> None:
    """`owner` also keeps us from sending data to a stranger who took the default bucket's name first."""
    expected = {"ExpectedBucketOwner": owner} if owner else {}
    try:
        s3.head_bucket(Bucket=bucket, **expected)
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404 and owner:
            place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            s3.create_bucket(Bucket=bucket, **place)
        elif status == 404:
            raise UserError(f"the bucket {bucket} does not exist; create it, or give another --bucket") from None
        elif status == 403:
            raise UserError(f"the bucket {bucket} is not yours to use; give another --bucket") from None
        else:
            raise


@contextlib.contextmanager
def _one_sentence_for_aws_errors() -> Iterator[None]:
    try:
        yield
    except botocore.exceptions.NoCredentialsError:
        raise UserError("there are no AWS credentials; run `aws configure`, or set AWS_PROFILE") from None
    except botocore.exceptions.ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        remedy = _REMEDIES.get(code, "change that and start again")
        raise UserError(f"AWS refused {error.operation_name} ({code}: {message.rstrip('.')}); {remedy}") from None
    except S3UploadFailedError as error:
        raise UserError(f"{str(error).rstrip('.')}; check the bucket and your permission to write to it") from None
    except botocore.exceptions.BotoCoreError as error:
        raise UserError(f"{str(error).rstrip('.')}; check the region, the network and your AWS profile") from None


# -- local mode


def train_locally(request: Mapping[str, Any], container_root: Path, labels: Mapping[str, str]) -> None:
    """Run the job in containers of this machine, whose log goes to the terminal. Raises LocalModeError.

    The SDK leaves its containers, its network and all below `container_root` for the caller to remove.
    """
    sagemaker.local.image._stream_output = _stream_log
    session = LocalSession(boto_session=_session_without_credentials(), sagemaker_config=SDK_CONFIG)
    session.config = {
        "local": {
            "local_code": True,
            "container_root": str(container_root),
            "container_config": {"shm_size": _SHARED_MEMORY, "labels": dict(labels)},
        }
    }
    try:
        fit(request, session)
    except Interrupted:
        raise
    except Exception as error:  # the SDK raises whatever it likes; what it says is kept, its traceback is not
        raise LocalModeError(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def _session_without_credentials() -> boto3.Session:
    """Local mode would write the user's keys into its compose file and the containers, in clear."""
    session = botocore.session.Session()
    session.register_component("credential_provider", botocore.credentials.CredentialResolver([]))
    return boto3.Session(botocore_session=session, region_name=LOCAL_REGION)


def _stream_log(process: subprocess.Popen[bytes]) -> int:
    """Copy what Compose prints to the terminal, and wait for its end. Stands in for the SDK's own function.

    That one loses the last lines, where the reason of a failure is, takes exit code 130 for success, does not
    flush, and leaves Compose running when it is interrupted.
    """
    assert process.stdout is not None
    try:
        for line in process.stdout:
            text = _COLOUR.sub("", line.decode(errors="replace")).rstrip("\r\n")
            print(_CONTAINER.sub(r"\1 | ", text), flush=True)
        code = process.wait()
    except BaseException:
        process.terminate()
        process.communicate(timeout=30)
        raise
    if code != 0:
        raise RuntimeError(f"Compose ended with exit code {code}")
    return code
