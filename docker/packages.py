"""Prints the packages of an image with versions: `docker run --rm -i IMAGE python - <docker/packages.py`.

The output is committed as docker/packages.txt, so that a change of the image is a readable diff.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import Distribution, distributions
from pathlib import Path

#: Written by the build stage of the Dockerfile: name, version and architecture.
BUILD_PACKAGES = Path("/usr/local/share/build-packages.txt")

_CLASSIFIER = "License :: OSI Approved :: "


def main() -> None:
    print('# Written by "make packages": what the image holds. Python packages: name, version, licence.\n')
    print(f"[base]\n{os.environ['IMAGE_BASE']}\n")
    print(f"[python {platform.python_version()}]")
    print("\n".join(sorted(f"{_name(found)} {found.version} {licence(found)}" for found in distributions())))
    print(f"\n[{platform.freedesktop_os_release()['PRETTY_NAME']}]")
    listing = ["dpkg-query", "--show", "--showformat", "${binary:Package} ${Version}\n"]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"})
    print(listed.stdout, end="")
    print("\n[build stage, what the image lacks]")
    present = set(listed.stdout.splitlines())
    recorded = [" ".join(line.split("\t")[:2]) for line in BUILD_PACKAGES.read_text().splitlines()]
    print("\n".join(line for line in recorded if line not in present))


def licence(found: Distribution) -> str:
    """The license in the package's metadata: an SPDX expression, classifiers, or the first line of a text."""
    metadata = found.metadata
    classifiers = [line.removeprefix(_CLASSIFIER) for line in metadata.get_all("Classifier", []) if _CLASSIFIER in line]
    text = (metadata["License"] or "").strip().splitlines()
    return metadata["License-Expression"] or "; ".join(classifiers) or (text[0] if text else "not stated")


def _name(found: Distribution) -> str:
    return re.sub("[-_.]+", "-", found.name).lower()


if __name__ == "__main__":
    main()
