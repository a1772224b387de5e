"""Names that SageMaker, the launcher and the image share: folders, channels, environment variables."""

from __future__ import annotations

import os

#: Where SageMaker mounts a job's folders.
BASE = "/opt/ml"

CHANNELS = ("train", "validation", "test", "model")

#: Environment variables for facts that a job cannot find out by itself. launch.py sets them; other callers need not.
MAX_RUN_SECONDS = "MAX_RUN_SECONDS"
IMAGE_DIGEST = "IMAGE_DIGEST"

#: Instance families with GPUs that CUDA 13 supports, for messages.
GPU_FAMILIES = "ml.g4dn, ml.g5, ml.g6, ml.g6e, ml.p4d, ml.p4de, ml.p5, ml.p5e or ml.p5en"


def max_run_seconds() -> int | None:
    """The job's maximum run time, after which SageMaker stops it; None when it is not known."""
    value = os.environ.get(MAX_RUN_SECONDS, "")
    return int(value) if value.isdecimal() else None


def image_digest() -> str | None:
    """The digest of the running image, as sha256:...; None when it is not known."""
    return os.environ.get(IMAGE_DIGEST) or None
