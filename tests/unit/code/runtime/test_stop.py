from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from text_classifier.runtime.stop import Stopped, StopSignal

CODE = """
import os, signal, sys
from text_classifier.runtime.stop import StopSignal
stop = StopSignal()
{}
os.kill(os.getpid(), signal.SIGTERM)
print(stop.requested)
"""


@pytest.mark.parametrize(
    ("prepare", "code", "printed"),
    [
        ("", -15, ""),
        ("stop.listen()", 0, "True\n"),
        ("stop.listen(); os.kill(os.getpid(), signal.SIGTERM)", 0, "True\n"),
        ("stop.listen(); stop.let_end()", -15, ""),
        ("stop.listen(); stop.ignore()", 0, "False\n"),
    ],
)
def test_what_the_signal_does(prepare: str, code: int, printed: str) -> None:
    """At first it ends the process, then it is remembered, and when all is saved it does nothing."""
    from text_classifier.runtime import stop

    done = subprocess.run(
        [sys.executable, "-c", CODE.format(prepare)], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(stop.__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, printed), done.stderr


def test_a_stop_that_came_ends_the_process_once_there_is_nothing_to_save_again() -> None:
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped, match="there is nothing to save"):
        stop.let_end()
