"""examples/estimator.py: the Estimator for Python, in local mode with the real image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from launcher import ROOT
from launcher.local import engine
from local_mode.runs import docker


def test_the_example_trains_and_leaves_nothing_but_its_results(tmp_path: Path) -> None:
    before = set(docker("network", "ls", "--quiet"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "estimator.py")],
        capture_output=True, text=True, timeout=600, check=False, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows by channel: {'train': " in done.stdout
    model = Path(done.stdout.splitlines()[-1].removeprefix("model: file://"))
    with tarfile.open(model) as tar:
        assert "model.safetensors" in tar.getnames()
    shutil.rmtree(model.parent)
    assert list(tmp_path.iterdir()) == []
    assert set(docker("network", "ls", "--quiet")) <= before
    assert docker("ps", "--all", "--quiet", f"--filter=label={engine.JOB_LABEL}") == []
