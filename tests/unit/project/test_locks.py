"""The locks agree with what they are made from, and with one another."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from support import ROOT

LOCKS = {
    "benchmarks/requirements.in": "benchmarks/requirements.lock",
    "benchmarks/infinity-requirements.in": "benchmarks/infinity-requirements.lock",
    "requirements.in": "requirements.lock",
    "docker/requirements.in": "docker/requirements.lock",
    "docker/build-tools.in": "docker/build-tools.lock",
    "docker/requirements-test.in": "docker/requirements-test.lock",
    "tests/container/serving-requirements.in": "tests/container/serving-requirements.lock",
}


def pins(lock: str) -> dict[str, str]:
    """Name to version, of each package that the lock names with at least one hash."""
    text = (ROOT / lock).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)[^\n]*\\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))


def declared(source: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / source).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize(("source", "lock"), LOCKS.items())
def test_a_lock_holds_what_is_declared(source: str, lock: str) -> None:
    versions = pins(lock)
    assert declared(source)
    for requirement in declared(source):
        assert requirement.specifier.contains(versions[requirement.name]), requirement


@pytest.mark.parametrize("lock", LOCKS.values())
def test_every_package_of_a_lock_has_one_version_and_a_hash(lock: str) -> None:
    named = re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.MULTILINE)
    assert sorted(named) == sorted(pins(lock))


@pytest.mark.parametrize("lock", ["docker/build-tools.lock", "docker/requirements-test.lock"])
def test_what_goes_into_the_image_with_the_libraries_has_their_versions(lock: str) -> None:
    image = pins("docker/requirements.lock")
    others = {name: version for name, version in pins(lock).items() if name in image}
    assert others
    assert others == {name: image[name] for name in others}


@pytest.mark.parametrize("lock", LOCKS.values())
def test_a_lock_names_no_machine(lock: str) -> None:
    assert not re.search(r"https?://|file:|find-links|(^|\s)/", (ROOT / lock).read_text())
