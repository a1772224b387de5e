"""Rules of the layout that no tool checks, and that break things far from where they are broken."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support import ROOT

CODE = sorted((ROOT / "code").rglob("*.py"))
LAUNCHER = [*sorted((ROOT / "launcher").rglob("*.py")), ROOT / "launch.py"]
PACKAGES = sorted([*(ROOT / "code" / "text_classifier").rglob("__init__.py"), *ROOT.glob("launcher/*/__init__.py")])
TESTS_OF_CODE = sorted((ROOT / "tests" / "unit" / "code").rglob("test_*.py"))

# Distributions that are not called as they are imported.
DISTRIBUTIONS = {"cuda": "cuda-bindings", "sklearn": "scikit-learn", "yaml": "pyyaml"}

# Tests of code/ that are not about a single module.
OF_SEVERAL_MODULES = {
    "ops/test_sanitizers.py",
    "modeling/test_hostile_models.py",
    "results/test_forgery.py",
    "reading/test_mutations.py",
}

LOCKS = sorted(path for folder in ("", "benchmarks", "docker") for path in (ROOT / folder).glob("*.lock"))

# Import names of locked distributions that are not the distribution's name with "_" for "-".
OTHER_NAMES = {
    "attr",
    "dateutil",
    "google",
    "inotify_simple",
    "nacl",
    "PIL",
    "sklearn",
    "yaml",
}


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("directory", ["code", "docker"])
def test_no_init_file(directory: str) -> None:
    """With one, `import code` (pdb does) or `import docker` (the SDK does) would find ours."""
    assert not (ROOT / directory / "__init__.py").exists()


def test_the_top_of_code_holds_what_is_run_by_name_and_one_package() -> None:
    """PYTHONPATH puts it before the libraries, which probe for packages that are not installed (`kernels`)."""
    names = {path.name for path in (ROOT / "code").iterdir()} - {"__pycache__"}
    commands = {"check.py", "predict.py", "serve.py", "start.py", "version.py"}
    assert names == commands | {"hook.py", "prepare.py", "text_classifier", "train.py"}


def test_the_top_of_code_shadows_nothing() -> None:
    locked = {
        re.sub(r"[-.]+", "_", name).lower()
        for lock in LOCKS
        for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock.read_text(), re.MULTILINE)
    }
    taken = set(sys.stdlib_module_names) | locked | OTHER_NAMES | set(metadata.packages_distributions())
    assert sorted({path.stem for path in (ROOT / "code").iterdir()} & taken) == []


@pytest.mark.parametrize("package", PACKAGES, ids=relative(PACKAGES))
def test_a_package_has_a_docstring_and_nothing_else(package: Path) -> None:
    """Importing a module then imports what it names, and nothing by the way."""
    tree = ast.parse(package.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize(("source", "files"), [("docker/requirements.in", CODE), ("requirements.in", LAUNCHER)])
def test_every_library_that_is_imported_is_declared(source: str, files: list[Path]) -> None:
    lines = (line.partition("#")[0].strip() for line in (ROOT / source).read_text().splitlines())
    declared = {Requirement(line).name for line in lines if line}
    ours = {"launch", "launcher", *(path.stem for path in (ROOT / "code").iterdir())}
    imported = {name: path for path in files for name in _imports(path)}
    libraries = {
        DISTRIBUTIONS.get(name, name.replace("_", "-").lower()): str(path.relative_to(ROOT))
        for name, path in imported.items()
        if name not in sys.stdlib_module_names and name not in ours
    }
    assert {name: path for name, path in libraries.items() if name not in declared} == {}


def _imports(path: Path) -> set[str]:
    """The top-level names that a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("test", TESTS_OF_CODE, ids=relative(TESTS_OF_CODE))
def test_a_test_of_code_lies_where_its_module_does(test: Path) -> None:
    place = test.relative_to(ROOT / "tests" / "unit" / "code")
    module = place.with_name(place.name.removeprefix("test_"))
    homes = ("code/text_classifier", "code", "tests", ".")
    assert str(place) in OF_SEVERAL_MODULES or any((ROOT / home / module).exists() for home in homes)


def test_one_module_knows_where_sagemaker_mounts_things() -> None:
    knowing = [path for path in CODE + LAUNCHER if "/opt/ml" in path.read_text()]
    assert relative(knowing) == ["code/text_classifier/contract/sagemaker.py"]


def test_locks_exist() -> None:
    assert relative(LOCKS) == [
        "benchmarks/infinity-requirements.lock",
        "benchmarks/requirements.lock",
        "docker/build-tools.lock",
        "docker/requirements-test.lock",
        "docker/requirements.lock",
        "requirements.lock",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=relative(LOCKS))
def test_lock_holds_for_every_index(lock: Path) -> None:
    """A "+cpu" version or an index address would tie the lock to one index; each pin has its hashes."""
    text = lock.read_text()
    assert not re.search(r"==\S*\+", text)
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b", text, re.MULTILINE)
    assert "://" not in re.sub(r"#.*", "", text)
    for pin in re.split(r"\n(?=[A-Za-z0-9])", text):
        assert "==" not in pin.partition("\n")[0] or "--hash=sha256:" in pin, pin


def test_nothing_reads_or_writes_pickles() -> None:
    pickling = re.compile(r"\b(import (c?pickle|dill|joblib)|from (c?pickle|dill|joblib)\b|torch\.(load|save)\()")
    assert relative([path for path in CODE + LAUNCHER if pickling.search(path.read_text())]) == []


def test_git_keeps_what_is_made_out_of_commits() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/.venv/", "/.venv-code/", "/build/", "/docker/certs/*.crt"} <= set(ignored)
