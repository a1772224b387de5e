"""A checkout on Windows, where git turns line ends into CRLF, still has scripts that Linux runs."""

import subprocess
from pathlib import Path

from support import ROOT


def test_a_checkout_with_autocrlf_has_the_line_ends_of_linux(tmp_path: Path) -> None:
    """The scripts of this checkout, committed to a repository of their own."""
    source = tmp_path / "source"
    source.mkdir()

    def git(*words: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *words], cwd=source, check=True, capture_output=True)

    git("init", "--quiet")
    for name in (".gitattributes", "build_and_push.sh", "Makefile"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    git("-c", "core.autocrlf=true", "clone", "--quiet", str(source), str(tmp_path / "clone"))
    for name in ("build_and_push.sh", "Makefile"):
        assert b"\r" not in (tmp_path / "clone" / name).read_bytes(), name
