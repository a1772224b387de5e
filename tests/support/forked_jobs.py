"""Runs train.py in a process that is forked from one with the libraries already imported.

A small job takes six seconds of CPU time, of which more than four are imports. A forked process ends as any other does,
with an exit code, exit handlers and a log of its own. It differs at its start: what a library reads from the
environment when it is imported is that of the process that forks.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 240

#: What a job imports only when it uses it.
IMPORTED_LATER = (
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "tensorboardX",
    "transformers.models.bert.modeling_bert",
)


def run(script: str, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a script to its end, or for `SECONDS`. Returns the exit code, as `subprocess` does, and what it printed."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.NamedTemporaryFile("r") as log:
        print(json.dumps([[script, *arguments], dict(environment), log.name]), file=server.stdin, flush=True)
        return int(server.stdout.readline()), log.read()


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks, one for each process of the tests. It ends when its stdin does."""
    # The second is what train.py sets for a job with a `model` channel, before it imports a library.
    variables = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-P", __file__], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.communicate)
    return process


def _serve() -> None:
    """Fork for each line of stdin. Returns in the forked process, at the end of its job."""
    importlib.import_module("train").import_job()
    for name in IMPORTED_LATER:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(*json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Run the script as the interpreter does, with stdout and stderr in the file `log`."""
    signal.alarm(SECONDS)
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # of the other environment
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
