"""Rules of the layout that no tool checks, and that break things far from where they are broken."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from support import ROOT

CODE = sorted((ROOT / "code").rglob("*.py"))
LAUNCHER = [*sorted((ROOT / "launcher").rglob("*.py")), ROOT / "launch.py"]
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


def test_modules_of_code_shadow_nothing() -> None:
    locked = {
        re.sub(r"[-.]+", "_", name).lower()
        for lock in LOCKS
        for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock.read_text(), re.MULTILINE)
    }
    taken = set(sys.stdlib_module_names) | locked | OTHER_NAMES | set(metadata.packages_distributions())
    taken -= {"tests"}
    assert sorted({path.stem for path in (ROOT / "code").iterdir()} & taken) == []


def test_one_module_knows_where_sagemaker_mounts_things() -> None:
    knowing = [path for path in CODE + LAUNCHER if "/opt/ml" in path.read_text()]
    assert relative(knowing) == ["code/text_classifier/contract/sagemaker.py"]


def test_locks_exist() -> None:
    assert relative(LOCKS) == [
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
    assert {"/.venv/", "/build/", "/docker/certs/*.crt"} <= set(ignored)


def test_the_readme_shows_the_hyperparameters_as_they_are_declared() -> None:
    from text_classifier.contract.hyperparameters import markdown

    assert markdown() in (ROOT / "README.md").read_text(encoding="utf-8")
