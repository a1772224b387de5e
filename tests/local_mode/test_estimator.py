"""examples/: the Estimator for Python, in local mode with the real image."""

from __future__ import annotations

import json
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
    networks = ("network", "ls", "--quiet", "--filter=label=com.docker.compose.project")
    before = set(docker(*networks))
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
    assert set(docker(*networks)) <= before
    assert docker("ps", "--all", "--quiet", f"--filter=label={engine.JOB_LABEL}") == []


def test_the_notebook_trains_and_predicts(tmp_path: Path) -> None:
    """All cells but those for AWS, in one process, as a kernel runs them."""
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code" and not cell["metadata"]]
    script = tmp_path / "notebook.py"
    script.write_text("\n".join([*sources, "print(json.dumps([str(results), scores]))"]))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT / "examples", capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results, scores = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(results)
    assert "accuracy: 0." in done.stdout
    assert [row["row"] for row in scores] == ["new.csv line 2", "new.csv line 3"]
    assert {row["predicted"] for row in scores} <= {"negative", "positive"}
    assert docker("ps", "--all", "--quiet", f"--filter=label={engine.JOB_LABEL}") == []


def test_the_cells_for_aws_compile() -> None:
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())["cells"]
    marked = ["".join(cell["source"]) for cell in cells if cell["metadata"].get("tags") == ["aws"]]
    assert [bool(compile(source, "notebook", "exec")) for source in marked] == [True, True]
