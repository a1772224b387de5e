"""Prints the image's bill of materials (CycloneDX, JSON): `docker run --rm -i IMAGE:test python - <docker/sbom.py`.

cyclonedx-py lists the Python packages of the environment; the packages of Debian or Ubuntu are added.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

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
    release = platform.freedesktop_os_release()
    show = ["dpkg-query", "--show", "--showformat", "${Package}\t${Version}\t${Architecture}\n"]
    lines = subprocess.run(show, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    components = []
    for name, version, architecture in (line.split("\t") for line in lines):
        place = f"arch={architecture}&distro={release['ID']}-{release['VERSION_ID']}"
        reference = f"pkg:deb/{release['ID']}/{name}@{version}?{place}"
        components.append(
            {"type": "library", "name": name, "version": version, "purl": reference, "bom-ref": reference}
        )
    return components


if __name__ == "__main__":
    main()
