"""Replacements of functions of the SDK in launcher/sdk/local_mode.py."""

import subprocess
import sys

import boto3
import pytest

from launcher.sdk import local_mode


def process(script):
    return subprocess.Popen([sys.executable, "-uc", script], stdout=subprocess.PIPE)


def test_the_log_is_shown_to_its_last_line_and_without_what_compose_adds(capsys):
    script = r"print('\x1b[36molyvqza4ph-algo-1-4z3pk |\x1b[0m a=1;\r'); [print(n) for n in range(5000)]; print('last')"
    assert local_mode._stream_log(process(script)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "algo-1 | a=1;"
    assert lines[-1] == "last"
    assert len(lines) == 5002


@pytest.mark.parametrize("code", [1, 130])
def test_every_exit_code_but_0_is_a_failure(code):
    with pytest.raises(RuntimeError, match=f"exit code {code}"):
        local_mode._stream_log(process(f"raise SystemExit({code})"))


def test_an_interrupt_ends_compose(monkeypatch):
    def interrupted(*words, **options):
        raise local_mode.Interrupted(2)

    monkeypatch.setattr("builtins.print", interrupted)
    compose = process("import time; print(1); time.sleep(600)")
    with pytest.raises(local_mode.Interrupted):
        local_mode._stream_log(compose)
    assert compose.poll() is not None


def test_local_mode_sees_no_credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert boto3.Session().get_credentials() is not None
    assert local_mode._session_without_credentials().get_credentials() is None
