"""The build refuses a package that differs from the lock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from support import ROOT
from support.containers import IMAGE


def test_a_wrong_hash_fails_the_build(tmp_path: Path) -> None:
    """With a wrong hash in the lock that is installed first, so that the build fails within seconds."""
    for name in ("docker", "code"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build_and_push.sh", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    lock = tmp_path / "docker" / "build-tools.lock"
    lock.write_text(
        re.sub("--hash=sha256:(.)", lambda digit: f"--hash=sha256:{'10'[digit[1] == '1']}", lock.read_text())
    )
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    base = subprocess.run(["docker", "image", "inspect", "--format", label, IMAGE], capture_output=True, text=True)
    build = subprocess.run(
        ["./build_and_push.sh", "build", "--image", "wrong-hash:local"],
        cwd=tmp_path, env=os.environ | {"BASE_IMAGE": base.stdout.strip()}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert build.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in build.stdout + build.stderr
