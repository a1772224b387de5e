"""Check what a registry holds, from the output of `docker manifest inspect --verbose`.

    docker manifest inspect --verbose REF | python -m launcher.aws.manifest IMAGE_ID

prints the manifest's digest. Exit code 1, with one sentence: a manifest that SageMaker does not take.
Exit code 3, and nothing printed: a good manifest, but of another image.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from text_classifier.contract.errors import UserError

DOCKER_V2 = "application/vnd.docker.distribution.manifest.v2+json"
OTHER_IMAGE = 3


def checked_digest(inspected: Any) -> str:
    """The digest of a single-platform Docker v2 schema 2 manifest for linux/amd64."""
    if isinstance(inspected, list):
        raise UserError(
            "The registry holds an index of several manifests, which SageMaker may reject: build with "
            "./build_and_push.sh build, which turns provenance attestations off, and choose another --tag."
        )
    descriptor = inspected["Descriptor"]
    if descriptor["mediaType"] != DOCKER_V2:
        raise UserError(
            f"The registry holds a manifest of type {descriptor['mediaType']}, which SageMaker may reject: "
            "switch Docker's containerd image store off, build again and choose another --tag."
        )
    platform = f"{descriptor['platform']['os']}/{descriptor['platform']['architecture']}"
    if platform != "linux/amd64":
        raise UserError(f"The registry holds an image for {platform}: build it for linux/amd64.")
    return str(descriptor["digest"])


def main(argv: list[str]) -> int:
    (image_id,) = argv
    inspected = json.load(sys.stdin)
    try:
        digest = checked_digest(inspected)
    except UserError as error:
        print(f"manifest: {error}", file=sys.stderr)
        return 1
    # An image's ID is its config's digest, or its manifest's under Docker's containerd image store.
    if image_id not in (inspected["SchemaV2Manifest"]["config"]["digest"], digest):
        return OTHER_IMAGE
    print(digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
