from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import check
from support.amazon_reviews import write
from support.jobs import Job, easy_rows, table


def test_check_reads_a_file_and_loads_no_model(tmp_path: Path) -> None:
    path = tmp_path / "reviews.tsv"
    path.write_text(table(easy_rows(40)))
    script = Path(check.__file__).with_name("train.py")
    probe = (
        f"import sys; sys.argv[1:] = ['--check', {str(path)!r}]; import runpy\ntry: runpy.run_path({str(script)!r}, "
    )
    probe += "run_name='__main__')\nfinally: assert not {'torch', 'transformers', 'pyarrow'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert "negative: train 18 (50.0%), validation 2 (50.0%)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.tsv"], "Your settings: none.tsv does not exist; give the file or folder with the rows\n"),
        (["/dev/null"], "Your settings: /dev/null is a pipe or a device; write its rows to a file\n"),
        (["a.tsv", "--label_column=stars"], "Your data: a.tsv has no column 'stars'; set label_column to one of its"),
        (["a.tsv", "--label=x"], "Your settings: unknown hyperparameter 'label'; did you mean label_"),
    ],
)
def test_check_says_what_is_wrong(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.tsv").write_text(table(easy_rows(40)))
    assert check.main(arguments) == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_check_warns_where_the_report_cannot_be_written(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = job.write("train", "a.tsv", table(easy_rows(40)))
    report = job.base / "output" / "data" / "data_report.json"
    report.mkdir(parents=True)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(job.base))
    assert check.main([str(path)]) == 0
    written = capsys.readouterr()
    assert written.out.startswith("split") and written.err == f"WARNING: {report} cannot be written (Is a directory)\n"
    report.rmdir()
    assert check.main([str(path)]) == 0
    assert report.is_file() and not capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_without_a_traceback(number: int, code: int, tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", 100_000)
    process = subprocess.Popen(
        [sys.executable, check.__file__, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not handles_sigterm(process.pid):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    assert process.communicate(timeout=60) == (b"", b"") and process.returncode == code


def handles_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
