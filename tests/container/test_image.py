"""The built image, black box: docker run and docker image inspect."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tomllib
from typing import Any

import pytest

from support import ROOT
from support.containers import IMAGE

SIZE_BUDGET = 4.5e9

# What docker/drop-unused.sh removes although the lock names it.
DROPPED = {"gevent", "greenlet", "setuptools", "triton", "zope-event", "zope-interface"}

# Printed as JSON by one container, because each start costs a second.
INSPECTION = """
import importlib.metadata, importlib.util, json, pathlib, re, shutil, sys

site = pathlib.Path(importlib.util.find_spec("torch").origin).parents[1]
code = pathlib.Path("/opt/text-classifier")
json.dump(
    {
        "python": sys.version_info[:2],
        "programs": {name: shutil.which(name) for name in sys.argv[1:]},
        "versions": {re.sub("[-_.]+", "-", d.name).lower(): d.version for d in importlib.metadata.distributions()},
        "code": {path.name: path.read_text() for path in code.glob("*.py")},
        "not compiled": [
            str(path)
            for folder in (code, site / "torch", site / "transformers", site / "sagemaker_training")
            for path in folder.rglob("*.py")
            # One file of torch.testing is in the syntax of a later Python.
            if "testing" not in path.parts and not pathlib.Path(importlib.util.cache_from_source(path)).exists()
        ],
        "directories": [str(path) for path in pathlib.Path("/opt/ml").rglob("*") if path.is_dir()],
        "caches": [str(path) for path in pathlib.Path("/root").rglob("*") if path.is_file() and ".cache" in path.parts]
        + [str(path) for path in pathlib.Path("/var/lib/apt/lists").rglob("*") if path.is_file()]
        + [str(path) for path in pathlib.Path("/var/cache/apt").rglob("*") if path.is_file()],
        "certificates": pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERT"),
        "certificates of the distribution": len(list(pathlib.Path("/usr/share/ca-certificates").rglob("*.crt"))),
        "left of the build": [
            str(path)
            for folder in ("/", "/opt", "/tmp", "/usr/local/share/ca-certificates", "/opt/text-classifier")
            for path in pathlib.Path(folder).glob("*")
            if path.suffix in {".crt", ".pem", ".lock", ".sh"} or path.name in {"certs", "locks", "test-tools"}
        ],
    },
    sys.stdout,
)
"""
COMPILERS = ("cc", "gcc", "g++", "c++", "ld", "make", "nvcc", "python3-config")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", "--network=none", IMAGE, *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """The output of `docker image inspect`."""
    inspect = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    return json.loads(inspect.stdout)[0]


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """The output of INSPECTION inside the image."""
    inspection = run("python", "-c", INSPECTION, "train", "bash", *COMPILERS)
    assert inspection.returncode == 0, inspection.stderr
    return json.loads(inspection.stdout)


def test_the_size_is_within_its_budget(description: dict[str, Any]) -> None:
    assert description["Size"] <= SIZE_BUDGET


def test_the_platform_is_that_of_sagemaker(description: dict[str, Any]) -> None:
    assert (description["Os"], description["Architecture"]) == ("linux", "amd64")


def test_the_labels_name_base_and_commit(description: dict[str, Any]) -> None:
    labels = description["Config"]["Labels"]
    name = "org.opencontainers.image"
    assert re.fullmatch(r"standin-base:bookworm|.+:.+", labels[f"{name}.base.name"])
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", labels[f"{name}.revision"])
    assert labels[f"{name}.title"] == "sagemaker-text-classification"
    assert labels[f"{name}.licenses"] == "MIT"
    assert labels[f"{name}.description"].startswith("Fine-tunes BERT-like text classifiers")
    assert re.fullmatch(r"unknown|https://[^@]+", labels[f"{name}.source"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels[f"{name}.version"] == project["version"]


def test_version_prints_what_the_labels_say(description: dict[str, Any]) -> None:
    labels = description["Config"]["Labels"]
    printed = dict(line.split(": ", 1) for line in run("version").stdout.splitlines())
    assert printed["revision"] == labels["org.opencontainers.image.revision"]
    assert printed["base"] == labels["org.opencontainers.image.base.name"]
    assert printed["lock"] == labels["sagemaker-text-classification.lock"]
    lock = (ROOT / "docker" / "requirements.lock").read_bytes()
    assert printed["lock"] == f"sha256:{hashlib.sha256(lock).hexdigest()}"
    versions = dict(item.split(" ") for item in labels["sagemaker-text-classification.versions"].split(","))
    assert versions == {name: printed[name] for name in ("sagemaker-training", "torch", "transformers")}


def test_no_program_runs_as_another_user() -> None:
    found = run("find", "/", "-xdev", "-type", "f", "-perm", "/6000")
    assert (found.returncode, found.stdout) == (0, "")


def test_train_runs_without_an_entrypoint_before_it(description: dict[str, Any]) -> None:
    assert description["Config"]["Cmd"] == ["train"]
    assert not description["Config"]["Entrypoint"]


def test_no_secret_or_address_of_the_build_is_in_the_settings_or_the_history(description: dict[str, Any]) -> None:
    history = subprocess.run(
        ["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings = " ".join(description["Config"]["Env"])
    assert not re.search(r"PIP_|_proxy|ca-bundle", history + settings, re.IGNORECASE)


def test_bash_gives_a_shell() -> None:
    assert run("bash", "-c", "echo $((6 * 7))").stdout == "42\n"


def test_train_without_a_job_fails_and_says_what_is_missing() -> None:
    result = run("train")
    assert result.returncode != 0
    assert "/opt/ml/input/config/" in result.stdout + result.stderr


def test_check_reads_a_file_and_says_what_it_holds() -> None:
    rows = r"printf 'text\tlabel\nfine\t5\ndull\t1\nfair\t1\ngood\t5\n' >/tmp/reviews.tsv"
    result = run("bash", "-c", f"{rows} && check /tmp/reviews.tsv --label_map '1-2=bad;4-5=good'")
    assert result.returncode == 0, result.stderr
    assert "bad: train 1 (50.0%), validation 1 (50.0%)" in result.stdout
    result = run("check")
    assert result.returncode == 1
    assert result.stderr.startswith("Your settings: the job has no channel 'train'")


@pytest.mark.parametrize("command", ["train", "check", "predict", "serve", "version"])
def test_help_is_printed(command: str) -> None:
    for flag in ("-h", "--help"):
        result = run(command, flag)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"usage: {command}")


@pytest.mark.parametrize("command", ["train", "check", "predict --model=x --data=x --output=x", "serve", "version"])
def test_unknown_arguments_are_refused(command: str) -> None:
    result = run(*command.split(), "--no-such-thing=1")
    assert result.returncode != 0
    assert "no-such-thing" in result.stderr.replace("_", "-") and "Traceback" not in result.stderr


def test_the_libraries_are_imported_and_find_all_they_link_to() -> None:
    result = run(
        "bash",
        "-c",
        "python -c 'import sagemaker_training.cli.train, sklearn.metrics, safetensors.torch, tokenizers, torch, tqdm;"
        "import transformers; assert torch.backends.cuda.is_built(); torch.linalg.inv(torch.eye(2))'"
        " && ldd /opt/venv/lib/python3*/site-packages/{torch/lib,nvidia/*/lib}/*.so* | grep 'not found' | sort -u",
    )
    assert result.stdout.split() == ["libcuda.so.1", "=>", "not", "found"], result.stderr


def test_the_programs_are_those_of_training(content: dict[str, Any]) -> None:
    assert content["programs"]["train"] == "/opt/venv/bin/train"
    assert content["programs"]["bash"]
    assert [name for name in COMPILERS if content["programs"][name]] == []


def test_the_packages_are_those_of_the_lock(content: dict[str, Any]) -> None:
    lock = (ROOT / "docker" / "requirements.lock").read_text()
    lines = re.findall(r"^([a-z0-9-]+)==([^ ;]+)( ; [^\\]+)?", lock, re.MULTILINE)
    locked = {name: version for name, version, _ in lines}
    conditional = {name for name, _, marker in lines if marker}
    installed = content["versions"]
    assert {name: locked.get(name) for name in installed} == installed
    assert set(locked) - conditional - DROPPED - set(installed) == set()
    assert not DROPPED & set(installed)


def test_the_code_is_that_of_the_checkout_and_compiled(content: dict[str, Any]) -> None:
    assert content["code"] == {path.name: path.read_text() for path in (ROOT / "code").glob("*.py")}
    assert content["not compiled"] == []


def test_the_places_of_the_contract_are_there(content: dict[str, Any]) -> None:
    expected = {"model", "checkpoints", "output/data", "input/config", "input/data", "code"}
    assert expected <= {directory.removeprefix("/opt/ml/") for directory in content["directories"]}


def test_nothing_of_the_build_is_left(content: dict[str, Any]) -> None:
    assert content["caches"] == []
    assert content["left of the build"] == []


def test_only_the_distributions_own_certificates_are_trusted(content: dict[str, Any]) -> None:
    assert content["certificates"] == content["certificates of the distribution"] > 0
