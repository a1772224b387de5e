"""Run the unit tests of what changed, as `make quick` does: python -m tools.changed_tests [--base COMMIT].

For a module these are its test at the same place below tests/unit and the tests that import it; where there are none,
and for any other file of a package, all tests of that folder; for a file outside the packages, tests/unit/project.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNIT = Path("tests/unit")


def tests_of(root: Path, changed: Iterable[Path]) -> list[Path]:
    """The test files and folders to run for these files; all paths are relative to `root`."""
    imports = {path.relative_to(root): _imports(path) for path in (root / UNIT).rglob("test_*.py")}
    return sorted({test for path in changed for test in _tests_of(root, path, imports)})


def _tests_of(root: Path, path: Path, imports: dict[Path, set[str]]) -> set[Path]:
    if path in imports:
        return {path}
    if path.is_relative_to(UNIT):
        folder = path.parent
    elif path.parts[0] in ("benchmarks", "code", "launcher", "tools"):
        folder = UNIT / Path(*(part for part in path.parent.parts if part != "text_classifier"))
    else:
        folder = UNIT / "project"
    tests = set()
    if path.suffix == ".py":
        name = path.with_suffix("").as_posix()
        names = {name.removeprefix(source).replace("/", ".") for source in ("", "code/", "tests/")}
        mirror = folder / f"test_{path.stem}.py"
        tests = {test for test, imported in imports.items() if test == mirror or names & imported}
    while not (root / folder).is_dir():
        folder = folder.parent
    return tests or {folder}


def _imports(test: Path) -> set[str]:
    """The modules that a file imports, and `module.name` for each name of its `from` imports."""
    names = set()
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _git(*arguments: str) -> list[str]:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"changed_tests: {result.stderr.strip()}; name a commit to compare with: make quick BASE=HEAD~1")
    return result.stdout.splitlines()


def main() -> int:
    """Run the tests of code/ with .venv-code and the others with .venv; return 1 if any fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", help="compare with this commit; default: where this branch left main")
    base = parser.parse_args().base or _git("merge-base", "main", "HEAD")[0]
    changed = _git("diff", "--name-only", base, "--") + _git("ls-files", "--others", "--exclude-standard")
    tests = tests_of(ROOT, map(Path, changed))
    if not tests:
        print(f"Nothing changed since {base[:12]}: no tests to run.")
    code = 0
    for venv, of_code in ((".venv", False), (".venv-code", True)):
        group = [str(test) for test in tests if test.is_relative_to(UNIT / "code") == of_code]
        if group:
            print("+", venv, "pytest", *group, flush=True)
            command = [f"{venv}/bin/python", "-m", "pytest", "--quiet", "--numprocesses", "2", *group]
            code = subprocess.run(command, cwd=ROOT, check=False).returncode or code
    return code


if __name__ == "__main__":
    sys.exit(main())
