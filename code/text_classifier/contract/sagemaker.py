"""Names that SageMaker, the launcher and the image share: folders, channels, environment variables."""

from __future__ import annotations

import os

#: Where SageMaker mounts a job's folders.
BASE = "/opt/ml"

CHANNELS = ("train", "validation", "test", "model")

#: Other names of channels: `Estimator.fit("s3://...")` calls its only channel `training`.
CHANNEL_ALIASES = {"training": "train"}

#: Channels that version 3 of the SageMaker SDK adds for itself.
FOREIGN_CHANNELS = ("code", "sm_drivers")

#: Environment variables for facts that a job cannot find out by itself. launch.py sets them; other callers need not.
MAX_RUN_SECONDS = "MAX_RUN_SECONDS"
IMAGE_DIGEST = "IMAGE_DIGEST"

#: Instance families with GPUs that CUDA 13 supports, for messages.
GPU_FAMILIES = "ml.g4dn, ml.g5, ml.g6, ml.g6e, ml.p4d, ml.p4de, ml.p5, ml.p5e or ml.p5en"

#: GPUs of an instance by its size, and where a family differs.
_GPUS = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8} | {f"{size}xlarge": 1 for size in ("", 2, 4, 8, 16)}
_OTHER_GPUS = {("p4d", "24xlarge"): 8, ("p4de", "24xlarge"): 8}


def gpu_count(instance_type: str) -> int | None:
    """The number of GPUs of an instance type, as in `ml.g5.12xlarge`; None when it is not known."""
    _, _, name = instance_type.partition("ml.")
    family, _, size = name.partition(".")
    if not family.startswith(("g", "p")):
        return 0
    return _OTHER_GPUS.get((family, size), _GPUS.get(size))


def max_run_seconds() -> int | None:
    """The job's maximum run time, after which SageMaker stops it; None when it is not known."""
    value = os.environ.get(MAX_RUN_SECONDS, "")
    return int(value) if value.isdecimal() else None


def image_digest() -> str | None:
    """The digest of the running image, as sha256:...; None when it is not known."""
    return os.environ.get(IMAGE_DIGEST) or None
