"""How each program of the launcher starts and ends."""

import json
import os
import signal
import subprocess
import sys

import pytest

from launcher import ROOT


def run(*words, **environment):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )


@pytest.fixture
def runs(tmp_path):
    """Two runs, the first of which has a name that Latin-1 lacks."""
    content = {
        "schema_version": 1, "headline": "accuracy", "best_epoch": 1, "steps": 1, "classes": ["a", "b"],
        "rows": {"train": 1, "validation": 1}, "epochs": [{"accuracy": 0.5}], "accuracy": 0.5, "throughput": {},
        "loss_curve": {"steps": [], "losses": []},
    }  # fmt: skip
    for name in ("\u65e5\u672c", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(content))
    return [tmp_path / "\u65e5\u672c", tmp_path / "b"]


def test_what_the_stream_cannot_encode_is_escaped(runs, tmp_path):
    words = ("launch.py", "compare", *runs, f"--output={tmp_path / 'page.html'}")
    done = run(*words, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5\\u672c" in done.stdout
    assert "\u65e5\u672c" in run(*words, PYTHONIOENCODING="utf-8").stdout.decode()


def test_a_closed_stream_is_no_error(runs, tmp_path):
    words = f"{sys.executable} launch.py compare {runs[1]} {runs[1]} --output={tmp_path / 'page.html'} >&-"
    assert subprocess.run(["bash", "-c", words], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("module", ["launcher.aws.ecr", "launcher.demo_data", "launcher.push_watchdog"])
def test_ctrl_c_is_a_sentence_and_ends_a_loop_of_the_shell(module):
    interrupted = "import signal, runpy, sys; from launcher import program; run = program.run; "
    interrupted += "program.run = lambda name, main: run(name, lambda: signal.raise_signal(signal.SIGINT)); "
    done = run("-c", f"{interrupted} runpy.run_module('{module}', run_name='__main__')")
    assert done.returncode == -signal.SIGINT
    assert done.stderr.decode() == f"{module.rpartition('.')[2]}: interrupted\n"
