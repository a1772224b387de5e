from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from text_classifier.contract.errors import CODE
from text_classifier.runtime import run_script


def run(source: Path, program: str = "mine.py", *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the hook does, in a job whose folders are those of `source`'s parent."""
    return subprocess.run(
        [sys.executable, "-P", "-m", run_script.__name__, program, *arguments],
        cwd=source, env=os.environ | {"SAGEMAKER_BASE_DIR": str(source.parent), "PYTHONPATH": str(CODE)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def failure(source: Path) -> str:
    path = source.parent / "output" / "failure"
    return path.read_text() if path.exists() else ""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


def test_a_script_runs_as_python_would_run_it(source: Path) -> None:
    (source / "bin").mkdir()
    (source / "bin" / "helper.py").write_text("VALUE = 7")
    (source / "bin" / "mine.py").write_text(
        "import sys, helper, text_classifier, __main__\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(sys.argv[1:], helper.VALUE, pool.map(double, [4]), __main__.__file__ == __file__)\n"
    )
    result = run(source, "bin/mine.py", "--epochs", "3")
    assert result.stdout == "['--epochs', '3'] 7 [8] True\n", result.stderr
    assert (result.returncode, failure(source)) == (0, "")


def test_the_reason_names_the_scripts_own_line(source: Path) -> None:
    (source / "helper.py").write_text("import json\n\n\ndef load():\n    json.loads('{')\n")
    (source / "mine.py").write_text("import helper\nhelper.load()\n")
    result = run(source)
    assert result.returncode == 1
    assert failure(source) == (
        "Your script: helper.py:5 raised json.decoder.JSONDecodeError: Expecting property name enclosed in double "
        "quotes: line 1 column 2 (char 1); the traceback is in the job's log"
    )
    assert result.stderr.startswith('Traceback (most recent call last):\n  File "') and "runpy" not in result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('one\\ntwo')", "mine.py:1 raised ValueError: one; the traceback is in the job's log\ntwo"),
        ("\nx = = 1", "mine.py:2 raised SyntaxError: invalid syntax; the traceback is in the job's log"),
        ("import nowhere", "mine.py:1 raised ModuleNotFoundError: No module named 'nowhere'; the traceback is in"),
        ("raise KeyboardInterrupt", "mine.py:1 raised KeyboardInterrupt; the traceback is in the job's log"),
        ("import sys; sys.exit(3)", "mine.py ended with exit code 3; look at the end of the job's log"),
        ("import sys; sys.exit('no rows')", "mine.py ended itself: no rows"),
        ("raise ValueError('hf_' + 'a' * 34)", "mine.py:1 raised ValueError: hf_***; the traceback"),
        ("raise ValueError('accuracy=0.99;')", "mine.py:1 raised ValueError: accuracy"),
    ],
)
def test_each_failure_has_a_reason(source: Path, text: str, reason: str) -> None:
    (source / "mine.py").write_text(text)
    result = run(source)
    assert result.returncode not in (0, run_script.STOPPED)
    assert failure(source).startswith(f"Your script: {reason}")
    assert "a" * 34 not in result.stderr + failure(source)


@pytest.mark.parametrize("code", [0, run_script.STOPPED])
def test_a_clean_end_has_none(source: Path, code: int) -> None:
    (source / "mine.py").write_text(f"raise SystemExit({code})")
    assert run(source).returncode == code
    assert failure(source) == ""
