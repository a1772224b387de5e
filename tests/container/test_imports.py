"""The libraries of the image, with our code before them on PYTHONPATH: no module of ours answers for one of theirs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support import ROOT
from support.containers import IMAGE

# Imports the packages of the distributions in argv, and prints what it imported and which modules of ours came with it.
# A class of transformers' is asked for too, because transformers imports nearly all of itself only then.
IMPORT_LIBRARIES = """
import importlib, importlib.metadata, json, re, sys

imported = {}
packages = importlib.metadata.packages_distributions()
for name, distributions in ((name, found) for name, found in packages.items() if name.isidentifier()):
    for distribution in {re.sub("[-_.]+", "-", name).lower() for name in distributions} & set(sys.argv[1:]):
        importlib.import_module(name)
        imported[distribution] = name

from transformers import AutoModelForSequenceClassification, BertForSequenceClassification
from transformers.utils import is_kernels_available

files = {name: getattr(module, "__file__", None) or "" for name, module in list(sys.modules.items())}
ours = [name for name, file in files.items() if file.startswith("/opt/text-classifier/")]
print(json.dumps([sorted(imported), ours, is_kernels_available()]))
"""

# Of the package `kernels`, which transformers uses where it is installed: each name is a decorator that does nothing.
FAKE_KERNELS = """
class Decorator:
    def __new__(cls, *arguments, **named):
        return lambda decorated: decorated


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Decorator
"""


def python(program: str, *arguments: str, added: Path | None = None) -> str:
    """Run a program in the image, with the folder `added` as further site-packages; return what it prints."""
    mount = [f"--volume={added}:/added:ro", "--env=PYTHONPATH=/opt/text-classifier:/added"] if added else []
    result = subprocess.run(
        ["docker", "run", "--rm", "--network=none", *mount, IMAGE, "python", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def declared() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "docker" / "requirements.in").read_text().splitlines())
    return sorted(Requirement(line).name for line in lines if line)


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A folder as `pip install kernels` leaves it in an image that is derived from this one."""
    files = {
        "kernels-0.18.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.5\n",
        "kernels/__init__.py": FAKE_KERNELS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_no_library_finds_a_module_of_ours(declared: list[str]) -> None:
    assert json.loads(python(IMPORT_LIBRARIES, *declared)) == [declared, [], False]


def test_no_library_finds_a_module_of_ours_beside_the_package_kernels(declared: list[str], kernels: Path) -> None:
    assert json.loads(python(IMPORT_LIBRARIES, *declared, added=kernels)) == [declared, [], True]


def test_a_job_can_be_imported_beside_the_package_kernels(kernels: Path) -> None:
    python("from text_classifier import job", added=kernels)
