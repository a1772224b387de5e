"""All calls into the SageMaker SDK, which runs local mode, and workarounds for it.

Version 2 of the SDK reaches its end of life in July 2027. Its input is the plain request of launcher/plan/request.py,
so another local mode replaces this module only. Import it where it is used: the import takes seconds.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.signals import Interrupted
from text_classifier.contract.errors import UserError

os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
# The SDK logs during its import, and raises the errors that it logs.
logging.disable(logging.INFO)
logging.getLogger("sagemaker").setLevel(logging.CRITICAL)

try:
    import boto3
    import botocore.credentials
    import botocore.session
    import sagemaker.local.image
    import sagemaker.utils
    from sagemaker.estimator import Estimator
    from sagemaker.local.local_session import LocalSession
    from sagemaker.session import Session
except ImportError as error:
    raise UserError(
        f"{error.name} is not installed in this Python; run `make venv` and use .venv/bin/python launch.py"
    ) from None

#: For every session: no telemetry, and no defaults from configuration files of the SDK.
SDK_CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}

#: Local mode requires a region and a role but does not use them.
LOCAL_REGION = "us-east-1"
LOCAL_ROLE = "arn:aws:iam::000000000000:role/local-mode"

#: DataLoader workers pass batches through /dev/shm; Docker's default of 64 MB is too small.
_SHARED_MEMORY = "512m"

#: Compose prefixes each line with `\x1b[36molyvqza4ph-algo-1-4z3pk |\x1b[0m `, which is shortened to `algo-1 | `.
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_CONTAINER = re.compile(r"^\w{10}-(algo-\d+)-\w{5}\s+\| ?")


def _skip_validation(sagemaker_config: dict[Any, Any] | None = None) -> None:
    """Replaces the SDK's validation of its configuration, which runs at each access: 20 times, 4 s in all.

    The validation at the creation of the session stays.
    """


vars(sagemaker.utils).update(validate_sagemaker_config=_skip_validation)


class LocalModeError(Exception):
    """Local mode failed; the message is the first line of the SDK's error."""


def estimator(request: Mapping[str, Any], session: Session) -> Estimator:
    """The Estimator for this request, with the arguments that local mode uses."""
    algorithm, resources = request["AlgorithmSpecification"], request["ResourceConfig"]
    return Estimator(
        image_uri=algorithm["TrainingImage"],
        role=request["RoleArn"],
        instance_count=resources["InstanceCount"],
        instance_type=resources["InstanceType"],
        output_path=request["OutputDataConfig"]["S3OutputPath"],
        hyperparameters=request.get("HyperParameters"),
        debugger_hook_config=False,
        disable_profiler=True,
        sagemaker_session=session,
    )


def fit(request: Mapping[str, Any], session: Session) -> None:
    """Start the job and follow its log to the end."""
    inputs = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]
    }
    estimator(request, session).fit(inputs, job_name=request["TrainingJobName"])


def train_locally(request: Mapping[str, Any], container_root: Path, labels: Mapping[str, str]) -> None:
    """Run the job in containers on this machine and print their log. Raises LocalModeError.

    The caller removes the containers, the network and the files below `container_root` that the SDK leaves.
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
    except Exception as error:  # the SDK raises exceptions of any type
        raise LocalModeError(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def _session_without_credentials() -> boto3.Session:
    """Local mode would write the user's AWS keys into its compose file and the containers in plain text."""
    session = botocore.session.Session()
    session.register_component("credential_provider", botocore.credentials.CredentialResolver([]))
    return boto3.Session(botocore_session=session, region_name=LOCAL_REGION)


def _stream_log(process: subprocess.Popen[bytes]) -> int:
    """Print the output of Compose and wait for its end. Replaces the SDK's function of this name.

    The SDK's loses the last lines, which contain the reason for a failure, treats exit code 130 as success, does not
    flush, and leaves Compose running when it is interrupted.
    """
    assert process.stdout is not None
    try:
        for line in process.stdout:
            text = _COLOR.sub("", line.decode(errors="replace")).rstrip("\r\n")
            print(_CONTAINER.sub(r"\1 | ", text), flush=True)
        code = process.wait()
    except BaseException:
        process.terminate()
        process.communicate(timeout=30)
        raise
    if code != 0:
        raise RuntimeError(f"Compose ended with exit code {code}")
    return code
