from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sagemaker_training")

from sagemaker_training.errors import ClientError

import hook
from hook import Processes
from text_classifier.runtime.cpus import usable_cpus


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Takes the place of train.py, in a job without any configuration whose data is prepared at once."""
    path = tmp_path / "train.py"
    monkeypatch.setattr(hook, "SCRIPT", path)
    monkeypatch.setattr(hook, "PREPARATION", tmp_path / "prepare.py")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "prepare.py").write_text("")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return path


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def send_after(seconds: float, number: int = signal.SIGTERM) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


def test_each_process_gets_its_variables_whatever_the_request_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "7")
    write = "import os; open(f'{os.environ[\"OUT\"]}', 'w').write(os.environ['RANK'])"
    processes = Processes()
    processes.start(python(write), [{"RANK": rank, "OUT": str(tmp_path / rank)} for rank in "01"])
    assert processes.wait() == 0
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["0", "1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_reaches_the_processes_and_is_a_clean_end(number: int) -> None:
    processes = Processes()
    processes.start(python("import time; time.sleep(60)"), [{}, {}])
    send_after(0.3, number)
    assert processes.wait() == 0
    assert processes.had_nothing_to_save


def test_a_stop_before_the_start_starts_nothing() -> None:
    processes = Processes()
    os.kill(os.getpid(), signal.SIGTERM)
    processes.start(python("raise SystemExit(1)"), [{}])
    assert processes.running == []
    assert processes.wait() == 0
    assert processes.had_nothing_to_save


def test_a_signal_that_was_blocked_until_now_counts() -> None:
    code = (
        "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); os.kill(os.getpid(), 15); import hook; "
        "raise SystemExit(0 if hook.Processes().is_stopping else 1)"
    )
    folder = str(Path(hook.__file__).parent)
    assert subprocess.run(python(code), check=False, env={"PYTHONPATH": folder}).returncode == 0


def test_a_process_that_saves_is_waited_for() -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep(.3), sys.exit(0))); time.sleep(60)"
    processes = Processes()
    processes.start(python(code), [{}])
    send_after(1.0)
    assert processes.wait() == 0
    assert not processes.had_nothing_to_save


def test_the_first_failure_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "GRACE_SECONDS", 0.2)
    processes = Processes()
    started = time.monotonic()
    processes.start(python("import os, time; os.environ['RANK'] == '1' and exit(3); time.sleep(60)"), [
        {"RANK": "0"}, {"RANK": "1"},
    ])  # fmt: skip
    assert processes.wait() == 3
    assert processes.running[0].wait() == -signal.SIGKILL
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; os.kill(os.getpid(), 9)", "The platform: the host ran out of memory, so training was killed"),
        ("import os; os.kill(os.getpid(), 6)", "The platform: training was aborted by a library, with several hosts"),
        ("import os; os.kill(os.getpid(), 11)", "The platform: training was killed by SIGSEGV; look at the end of"),
        ("import os; os.kill(os.getpid(), 15)", "The platform: training was killed by SIGTERM; look at the end of"),
        ("raise SystemExit(130)", "The platform: training ended with exit code 130; look at the end of"),
    ],
)
def test_an_end_without_a_word_is_given_a_reason(script: Path, code: str, sentence: str) -> None:
    script.write_text(code)
    with pytest.raises(ClientError, match=sentence):
        hook.run()
    assert (script.parent / "output" / "failure").read_text().startswith(sentence)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; os.kill(os.getpid(), 9)", "The platform: the host ran out of memory while the data was read and"),
        ("import os; os.kill(os.getpid(), 11)", "The platform: data preparation was killed by SIGSEGV; look at the"),
        ("raise SystemExit(3)", "The platform: data preparation ended with exit code 3; look at the end of"),
    ],
)
def test_when_the_preparation_fails_training_is_ended_at_once(script: Path, code: str, sentence: str) -> None:
    """Also where it takes SIGTERM for a stop of the job."""
    script.write_text("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    script.with_name("prepare.py").write_text(code)
    started = time.monotonic()
    with pytest.raises(ClientError, match=sentence):
        hook.run()
    assert time.monotonic() - started < hook.GRACE_SECONDS
    assert not list(script.parent.glob("prepared-*"))


def test_when_training_fails_the_preparation_is_ended_at_once(script: Path) -> None:
    script.write_text("raise SystemExit(3)")
    script.with_name("prepare.py").write_text("import time; time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(ClientError, match="training ended with exit code 3"):
        hook.run()
    assert time.monotonic() - started < hook.GRACE_SECONDS


def test_a_killed_preparation_leaves_no_workers(script: Path) -> None:
    script.write_text("import time; time.sleep(60)")
    pid = script.with_name("pid")
    worker = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    script.with_name("prepare.py").write_text(
        f"import os, subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {worker!r}])\n"
        f"while not os.path.exists({str(pid)!r}) or not open({str(pid)!r}).read(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)"
    )
    with pytest.raises(ClientError, match="the host ran out of memory"):
        hook.run()
    deadline = time.monotonic() + 10
    while not has_ended(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert has_ended(int(pid.read_text()))


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_stop_while_the_data_is_prepared_is_a_clean_end(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text("import time; time.sleep(60)")
    script.with_name("prepare.py").write_text("import time; time.sleep(60)")
    send_after(0.5)
    hook.run()
    assert capsys.readouterr().out == "Stopped before the first step: there is nothing to save.\n"
    assert not (script.parent / "output" / "failure").exists()
    assert not list(script.parent.glob("prepared-*"))


def test_a_stop_after_the_preparation_is_a_clean_end_too(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text("import os, time; os.kill(os.getppid(), 15); time.sleep(60)")
    script.with_name("prepare.py").write_text("")
    hook.run()
    assert capsys.readouterr().out == "Stopped before the first step: there is nothing to save.\n"


def test_training_finds_the_folder_of_the_prepared_data(script: Path) -> None:
    seen = script.with_name("seen")
    script.with_name("prepare.py").write_text("import os, sys; os.mkdir(sys.argv[1] + '/rows')")
    script.write_text(
        "import os, time\nfolder = os.environ['PREPARED_DATA']\n"
        f"while not os.path.exists(folder + '/rows'): time.sleep(0.01)\nopen({str(seen)!r}, 'w').write(folder)"
    )
    hook.run()
    assert Path(seen.read_text()).parent == script.parent
    assert not Path(seen.read_text()).exists()


def test_the_preparation_tokenizes_with_all_cpus(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    code = "import os; from pathlib import Path; Path(__file__).with_suffix('.seen').write_text(repr(dict(os.environ)))"
    for path in (script, script.with_name("prepare.py")):
        path.write_text(code)
    hook.run()
    preparation, training = (ast.literal_eval(script.with_name(f"{n}.seen").read_text()) for n in ("prepare", "train"))
    assert preparation["TOKENIZERS_PARALLELISM"] == "true"
    assert preparation["RAYON_NUM_THREADS"] == str(usable_cpus())
    assert "TOKENIZERS_PARALLELISM" not in training


def test_the_scripts_own_reason_stays(script: Path) -> None:
    failure = script.parent / "output" / "failure"
    failure.parent.mkdir()
    script.write_text(f"open({str(failure)!r}, 'w').write('Your data: x\\nmore'); raise SystemExit(1)")
    with pytest.raises(ClientError, match="^Your data: x$"):
        hook.run()
    assert failure.read_text() == "Your data: x\nmore"


def test_a_fault_of_the_hook_itself_is_reported_as_a_bug(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text_classifier.runtime.gpu.prepare", lambda: 1 / 0)
    with pytest.raises(ClientError, match="A bug in the training code: ZeroDivisionError at hook.py:"):
        hook.run()


def test_an_older_driver_gets_the_compat_library(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text_classifier.runtime.gpu.capabilities", lambda: [(8, 0)])
    monkeypatch.setattr("text_classifier.runtime.gpu.compat_folder", lambda: Path("/compat"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/own")
    script.write_text(f"import os; open({str(script.parent / 'seen')!r}, 'w').write(os.environ['LD_LIBRARY_PATH'])")
    hook.run()
    assert (script.parent / "seen").read_text() == "/compat:/own"
