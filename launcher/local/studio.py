"""SageMaker Studio, whose Docker engine sees the home folder only and has one network for containers.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/studio-updated-local.html, and sagemaker.local.image of the SDK.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from text_classifier.contract import sagemaker
from text_classifier.contract.errors import UserError

#: Written by Studio, and read by the SDK, which takes the same path.
METADATA = Path(f"{sagemaker.BASE}/metadata/resource-metadata.json")


def is_studio() -> bool:
    """Whether this machine is an app of SageMaker Studio. A notebook instance has the file too, without AppType."""
    try:
        return "AppType" in json.loads(METADATA.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def require_one_container(count: int) -> None:
    """Raise UserError for several containers in Studio, where the SDK runs one."""
    if count > 1 and is_studio():
        raise UserError(
            "local mode in SageMaker Studio runs one container; leave --instance-count out, or train in AWS"
        )


def network() -> str:
    """The option of `docker run` for a container that needs no network. Studio's engine takes only its own."""
    return "--network=sagemaker" if is_studio() else "--network=none"


def scratch(prefix: str) -> Path:
    """A new temporary folder whose files containers see: below TMPDIR, in Studio in the SDK's ~/tmp."""
    parent = Path.home() / "tmp" if is_studio() else None
    if parent:
        parent.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
