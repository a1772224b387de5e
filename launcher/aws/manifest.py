"""Check an image in a registry, from the output of `docker manifest inspect --verbose`.

    docker manifest inspect --verbose REF | python -m launcher.aws.manifest IMAGE_ID

prints the manifest's digest. Exit code 1 and one sentence: SageMaker would not accept the manifest. Exit code 3 and no
output: the manifest is valid but belongs to another image.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from text_classifier.contract.errors import UserError

DOCKER_V2 = "application/vnd.docker.distribution.manifest.v2+json"
OTHER_IMAGE = 3


def checked_digest(inspected: Any) -> str:
    """The digest of a single-platform Docker v2 schema 2 manifest for linux/amd64. Raises UserError for others."""
    if isinstance(inspected, list):
        raise UserError(
            "The registry has an index of several manifests, which SageMaker may reject; build with "
            "./build_and_push.sh build, which turns provenance attestations off, and use another --tag."
        )
    descriptor = inspected["Descriptor"]
    if descriptor["mediaType"] != DOCKER_V2:
        raise UserError(
            f"The registry has a manifest of type {descriptor['mediaType']}, which SageMaker may reject; "
            "turn Docker's containerd image store off, rebuild and use another --tag."
        )
    platform = f"{descriptor['platform']['os']}/{descriptor['platform']['architecture']}"
    if platform != "linux/amd64":
        raise UserError(f"The registry has an image for {platform}; build it for linux/amd64.")
    return str(descriptor["digest"])


def main(argv: list[str]) -> int:
    (image_id,) = argv
    inspected = json.load(sys.stdin)
    try:
        digest = checked_digest(inspected)
    except UserError as error:
        print(f"manifest: {error}", file=sys.stderr)
        return 1
    # An image's ID is the digest of its config or, with Docker's containerd image store, of its manifest.
    if image_id not in (inspected["SchemaV2Manifest"]["config"]["digest"], digest):
        return OTHER_IMAGE
    print(digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
