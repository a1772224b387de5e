"""The question before a job is started, at a terminal."""

import os
import pty
import subprocess
import sys

import pytest

import launch
from launcher import ROOT
from support.launching import IMAGE, REGION, ROLE

pytestmark = pytest.mark.usefixtures("no_aws")

QUESTION = b"Start it? [y/N] "


@pytest.mark.parametrize("typed", [b"\x04", b"n\n"])
def test_ctrl_d_is_no(reviews, typed):
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data={reviews}", f"--region={REGION}"]
    command = [sys.executable, ROOT / "launch.py", "train", *words, "--skip-checks", "--skip-data-check"]
    terminal, its_side = pty.openpty()
    with subprocess.Popen(command, stdin=its_side, stdout=its_side, stderr=its_side) as process:
        os.close(its_side)
        until_question = _read(terminal, QUESTION)
        os.write(terminal, typed)
        answered = _read(terminal)
        os.close(terminal)
    assert process.returncode == launch.REFUSED, until_question
    last = answered.decode().split("\r\n")[-2]
    assert last == "launch.py: nothing was started; answer y or give --yes to start it"


def _read(terminal, end=None):
    """What the terminal shows, until it ends with these bytes, or the program at it has ended."""
    shown = b""
    while end is None or not shown.endswith(end):
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # on Linux: nobody has the other end open
            break
    return shown
