"""Prints the image's bill of materials (CycloneDX, JSON): `docker run --rm -i IMAGE:test python - <docker/sbom.py`.

cyclonedx-py lists the Python packages of the environment; the packages of Debian or Ubuntu are added, those of the
build stage that are not in the image with the scope "excluded".
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

#: Written by the build stage of the Dockerfile: name, version and architecture.
BUILD_PACKAGES = Path("/usr/local/share/build-packages.txt")

#: Runs cyclonedx-py from outside the environment that it lists, so that it does not list itself.
_CYCLONEDX = (
    "import runpy, sys; sys.path.append('/opt/test-tools'); runpy.run_module('cyclonedx_py', run_name='__main__')"
)


def main() -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = ["environment", "--output-reproducible", "--of", "JSON", "--output-file", "-", sys.executable]
    command = [sys.executable, "-c", _CYCLONEDX, *options]
    document = json.loads(subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE).stdout)
    document["components"] += distribution_packages()
    text = json.dumps(document, indent=2)
    error = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(text)
    if error:
        sys.exit(f"sbom.py: the output is not valid CycloneDX {document['specVersion']}: {error}")
    print(text)


def distribution_packages() -> list[dict[str, Any]]:
    """One component per package of the distribution."""
    show = ["dpkg-query", "--show", "--showformat", "${binary:Package}\t${Version}\t${Architecture}\n"]
    lines = subprocess.run(show, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    present = set(lines)
    only_built_with = [line for line in BUILD_PACKAGES.read_text().splitlines() if line not in present]
    return [*map(_component, lines), *(_component(line) | {"scope": "excluded"} for line in only_built_with)]


def _component(line: str) -> dict[str, Any]:
    release = platform.freedesktop_os_release()
    name, version, architecture = line.split("\t")
    name = name.partition(":")[0]
    place = f"arch={architecture}&distro={release['ID']}-{release['VERSION_ID']}"
    reference = f"pkg:deb/{release['ID']}/{name}@{version}?{place}"
    return {"type": "library", "name": name, "version": version, "purl": reference, "bom-ref": reference}


if __name__ == "__main__":
    main()
