"""Local mode of the SageMaker SDK, and workarounds for it: a session without credentials, and its log."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.sdk import estimators
from launcher.signals import Interrupted

# isort: split
# launcher.sdk.estimators must be imported before the SDK, which it configures and may miss.
import boto3
import botocore.credentials
import botocore.session
import sagemaker.local.image
from sagemaker.local.local_session import LocalSession

#: Local mode requires a region and a role but does not use them.
LOCAL_REGION = "us-east-1"
LOCAL_ROLE = "arn:aws:iam::000000000000:role/local-mode"

#: DataLoader workers pass batches through /dev/shm; Docker's default of 64 MB is too small.
_SHARED_MEMORY = "512m"

#: Compose prefixes each line with `\x1b[36molyvqza4ph-algo-1-4z3pk |\x1b[0m `, which is shortened to `algo-1 | `.
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_CONTAINER = re.compile(r"^\w{10}-(algo-\d+|sagemaker-local)(?:-\w{5})?\s+\| ?")


class LocalModeError(Exception):
    """Local mode failed; the message is the first line of the SDK's error."""


def session(container_root: Path, labels: Mapping[str, str]) -> LocalSession:
    """A session that runs jobs in containers on this machine, and prints their log.

    The caller removes the containers, the network and the files below `container_root` that the SDK leaves.
    """
    sagemaker.local.image._stream_output = _stream_log
    session = LocalSession(boto_session=_session_without_credentials(), sagemaker_config=estimators.SDK_CONFIG)
    session.config = settings(container_root, labels)
    return session


def settings(container_root: Path, labels: Mapping[str, str]) -> dict[str, Any]:
    """The SDK's configuration of local mode: where its files go, and the labels of its containers."""
    return {
        "local": _Section(
            local_code=True,
            container_root=str(container_root),
            container_config={"shm_size": _SHARED_MEMORY, "labels": dict(labels)},
        )
    }


class _Section(dict[str, Any]):
    """Settings that stay: in SageMaker Studio the SDK replaces the container root by ~/tmp, and leaves its files."""

    def __setitem__(self, name: str, value: Any) -> None:
        """Ignore the assignment."""


def train(request: Mapping[str, Any], container_root: Path, labels: Mapping[str, str]) -> None:
    """Run the job of a request in containers on this machine and print its log. Raises LocalModeError."""
    try:
        estimators.fit(request, session(container_root, labels), wait=True)
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
