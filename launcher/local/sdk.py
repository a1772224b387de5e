"""Every call into the SageMaker SDK, which runs local mode, and its traps.

Version 2 of the SDK ends in July 2027. What it is given is the plain data of launcher/request.py, which in AWS is
sent as it is, so another local mode replaces this module only. Import it where it is used: that takes seconds.
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
# What the SDK logs, it also raises; it talks while it is imported, too.
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


def _take_as_checked(sagemaker_config: dict[Any, Any] | None = None) -> None:
    """Stands in for the SDK's check of a session's settings, which it repeats at each look: 20 times, 4 s in all.

    The check when the session is made stays.
    """


vars(sagemaker.utils).update(validate_sagemaker_config=_take_as_checked)


class LocalModeError(Exception):
    """Local mode ended without success; the message says in one line what the SDK said."""


def estimator(request: Mapping[str, Any], session: Session) -> Estimator:
    """Make the Estimator for this request, as far as local mode goes."""
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
