"""docs/troubleshooting.md has an entry for each failure reason in the source of code/."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from support import ROOT

CODE = ROOT / "code"
PAGE = ROOT / "docs" / "troubleshooting.md"
ERRORS = {"JobError", "UserError", "SettingsError", "DataError", "PlatformError", "PeerError", "ScriptError", "BadRow"}


def normalized(text: str) -> str:
    return " ".join(re.sub(r"[`*|\\]", "", text).split())


def key_phrase(message: ast.expr) -> str:
    """The first piece of three words or more among the literal parts of a message; empty when it has none."""
    parts = [node.value for node in ast.walk(message) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    pieces = (normalized(piece) for part in parts for piece in re.split(r"[;:()\n]", part))
    return next((piece for piece in pieces if len(piece.split()) >= 3), "")


def reasons(code: Path) -> Iterator[tuple[str, str]]:
    """Place and key phrase of each error with a known cause that is made in code/."""
    for path in sorted(code.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
                phrase = key_phrase(node.args[0])
                if phrase:
                    yield f"{path.relative_to(code)}:{node.lineno}", phrase


def test_every_failure_reason_is_explained() -> None:
    page = normalized(PAGE.read_text(encoding="utf-8"))
    missing = [f"{place}: {phrase}" for place, phrase in reasons(CODE) if phrase not in page]
    assert not missing, "docs/troubleshooting.md lacks:\n" + "\n".join(missing)


def test_the_reasons_are_found() -> None:
    """The test above would pass if the search found none."""
    assert len(list(reasons(CODE))) > 80
