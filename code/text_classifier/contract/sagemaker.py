"""Names that SageMaker, the launcher and the image agree on: folders, channels, environment variables."""

from __future__ import annotations

import os

#: Where SageMaker mounts a job's folders.
BASE = "/opt/ml"


CHANNELS = ("train", "validation", "test", "model")


#: What a job cannot find out by itself: launch.py passes it on as environment variables, other callers need not.
MAX_RUN_SECONDS = "MAX_RUN_SECONDS"


IMAGE_DIGEST = "IMAGE_DIGEST"


def max_run_seconds() -> int | None:
    """After how long SageMaker stops the job; None where nobody has said it."""
    value = os.environ.get(MAX_RUN_SECONDS, "")
    return int(value) if value.isdecimal() else None


def image_digest() -> str | None:
    """The digest of the image that runs, as sha256:...; None where nobody has said it."""
    return os.environ.get(IMAGE_DIGEST) or None
