"""What the tests of launch.py's commands share, as a plugin of pytest."""

import pytest

import launch
from launcher.aws import commands as remote
from launcher.aws import follow
from support.fake_clock import Clock


@pytest.fixture
def clock(monkeypatch):
    """The time of the following commands and of boto3's retries."""
    clock = Clock()
    monkeypatch.setattr(follow, "time", clock)
    monkeypatch.setattr(remote, "time", clock)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    return clock


@pytest.fixture
def command(capsys):
    """Run launch.py and return the exit code, stdout and stderr."""

    def run(*words):
        try:
            code = launch.main([str(word) for word in words])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run
