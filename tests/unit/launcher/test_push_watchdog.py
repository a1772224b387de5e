"""The watchdog ends commands that stall, and passes on their output."""

import subprocess
import sys
import time

import pytest

from launcher import ROOT, push_watchdog


def run(script, *words, seconds="20"):
    """Run Python code under launcher.push_watchdog, with pipes for its output."""
    command = [sys.executable, "-m", "launcher.push_watchdog", *words, seconds, sys.executable, "-uc", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", [[], ["--terminal"]])
def test_a_command_that_makes_progress_is_not_ended(words):
    script = "import sys, time\nfor n in range(4): print(n); time.sleep(0.4)\nprint('e', file=sys.stderr); sys.exit(7)"
    done = run(script, *words, seconds="1.2")
    assert (done.returncode, done.stdout, done.stderr) == (7, "0\n1\n2\n3\n", "e\n")


@pytest.mark.parametrize("words", [[], ["--terminal"]])
def test_one_that_stalls_is_ended(words):
    start = time.monotonic()
    done = run("import time; print(1); time.sleep(600)", *words, seconds="0.5")
    assert time.monotonic() - start < 10
    assert (done.returncode, done.stdout) == (push_watchdog.STALLED, "1\n")
    assert done.stderr == f"{sys.executable} -uc made no progress for 0.5 s and was ended.\n"


def test_one_that_does_not_listen_is_killed(monkeypatch):
    monkeypatch.setattr(push_watchdog, "_GRACE_SECONDS", 0.2)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(600)"
    assert push_watchdog.run([sys.executable, "-uc", script], 1, on_terminal=False) == push_watchdog.STALLED


def test_the_command_has_a_terminal_and_its_moving_lines_are_left_out():
    script = (
        "import sys\nassert sys.stdout.isatty()\n"
        "print('a1: Preparing')\n"
        "for n in range(9): sys.stdout.write(f'\\x1b[1A\\x1b[2K\\ra1: Pushing  {n}MB/9MB\\r\\x1b[1B')\n"
        "sys.stdout.write('\\x1b[1A\\x1b[2K\\ra1: Pushed \\r\\x1b[1B')\n"
        "sys.stdout.write('\\x1b[1A\\x1b[2K\\ra1: Pushed \\r\\x1b[1B')\n"
        "print('1.0: digest: sha256:00')\n"
    )
    done = run(script, "--terminal")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "a1: Preparing\na1: Pushed\n1.0: digest: sha256:00\n"
