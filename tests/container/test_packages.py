"""The image matches docker/packages.txt and its bill of materials."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from support import ROOT
from support.containers import IMAGE, IMAGE_WITH_TOOLS

DOCKER = ROOT / "docker"


def output(image: str, script: str) -> str:
    """The output of a script of docker/ inside an image."""
    with (DOCKER / script).open() as file:
        command = ["docker", "run", "--rm", "--interactive", "--network=none", image, "python", "-"]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section, by its heading in brackets."""
    parts = re.findall(r"^\[(.+)\]\n((?:.+\n)+)", text, re.MULTILINE)
    return {title.split(" ")[0].lower(): lines.splitlines() for title, lines in parts}


@pytest.fixture(scope="module")
def packages() -> dict[str, list[str]]:
    return sections(output(IMAGE, "packages.py"))


def test_the_list_of_packages_is_that_of_the_image(packages: dict[str, list[str]]) -> None:
    """Distribution packages are compared by name only: security updates change versions without a commit."""
    listed = sections((DOCKER / "packages.txt").read_text())
    assert packages["python"] == listed["python"], 'run "make packages" and look at the diff'
    if packages["base"] == listed["base"]:
        names = [[line.split(" ")[0] for line in of["debian"]] for of in (packages, listed)]
        assert names[0] == names[1], 'run "make packages" and look at the diff'


def test_every_package_has_a_licence(packages: dict[str, list[str]]) -> None:
    """cuda-toolkit is a meta package without a license."""
    unstated = [line.split(" ")[0] for line in packages["python"] if line.endswith("not stated")]
    assert unstated == ["cuda-toolkit"]


def test_the_bill_of_materials_lists_every_package(packages: dict[str, list[str]]) -> None:
    document = json.loads(output(IMAGE_WITH_TOOLS, "sbom.py"))
    assert document["bomFormat"] == "CycloneDX"
    listed = {
        (re.sub("[-_.]+", "-", component["name"]).lower() if "pkg:pypi" in component["purl"] else component["name"])
        + " "
        + component["version"]
        for component in document["components"]
    }
    present = [line for lines in packages.values() for line in lines if len(line.split(" ")) > 1]
    expected = {" ".join(line.split(" ")[:2]).replace(":amd64", "") for line in present}
    assert expected - listed == set()
    assert {line for line in listed - expected if not line.startswith("strace ")} == set()
