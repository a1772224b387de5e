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
        for section in ("debian", "build"):
            names = [[line.split(" ")[0] for line in of[section]] for of in (packages, listed)]
            assert names[0] == names[1], 'run "make packages" and look at the diff'


def test_the_compilers_of_the_build_are_recorded(packages: dict[str, list[str]]) -> None:
    names = {line.split(" ")[0].partition(":")[0] for line in packages["build"]}
    assert {"g++", "gcc", "libc6-dev", "python3-dev"} <= names
    assert all(len(line.split(" ")) == 2 for line in packages["build"])


def test_every_package_has_a_licence(packages: dict[str, list[str]]) -> None:
    """cuda-toolkit is a meta package without a license."""
    unstated = [line.split(" ")[0] for line in packages["python"] if line.endswith("not stated")]
    assert unstated == ["cuda-toolkit"]


#: What `pip check` says, and why it may: docker/drop-unused.sh deletes packages that training never imports.
GAPS = {
    "torch 2.13.0 requires setuptools, which is not installed.",  # for building extensions
    "torch 2.13.0 requires triton, which is not installed.",  # for torch.compile on a GPU
    "sagemaker-training 5.1.4 requires gevent, which is not installed.",  # it never imports it
}

#: Wheels without a license file; their metadata, and so docker/packages.txt, name the license. The first is empty.
WITHOUT_FILE = {"cuda-toolkit", "nvidia-cusparselt-cu13", "sentencepiece", "tokenizers"}

UNLICENSED = """
import re
from importlib.metadata import distributions
for found in distributions():
    names = [path.name for path in found.files or () if path.locate().is_file() and ".dist-info" in str(path)]
    if not any(re.match("licen[cs]e|copying|notice", name, re.IGNORECASE) for name in names):
        print(re.sub("[-_.]+", "-", found.name).lower())
"""


def test_the_gaps_between_packages_are_the_deliberate_ones() -> None:
    checked = run("python", "-m", "pip", "--disable-pip-version-check", "check")
    assert set(checked.stdout.splitlines()) == GAPS, checked.stderr


def test_every_package_keeps_its_license_file() -> None:
    found = run("python", "-c", UNLICENSED)
    assert set(found.stdout.split()) == WITHOUT_FILE, found.stderr


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", "--network=none", IMAGE, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


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
    excluded = {component["name"] for component in document["components"] if component.get("scope") == "excluded"}
    assert excluded == {line.split(" ")[0].partition(":")[0] for line in packages["build"]}
    assert {line for line in listed - expected if not line.startswith("strace ")} == set()
