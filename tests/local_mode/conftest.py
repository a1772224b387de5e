"""Runs `launch.py local` with the real image, engine and SDK, and checks for leftovers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from launcher import ROOT
from launcher.local import engine
from local_mode.runs import Run, docker
from support.jobs import warnings_in


class Scheduling(LoadScopeScheduling):
    """Gives all tests of this folder to one process, at the start, and the others to whichever is free.

    The SDK puts all jobs in one network, where the hosts of each have the same names.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "local_mode" if nodeid.startswith("tests/local_mode/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Run]]:
    """Start runs. At the end, no container, network or temporary file of theirs may be left."""
    runs: list[Run] = []
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def start(*words: object) -> Run:
        name = f"test-{os.getpid()}-{len(runs)}-{request.node.name[:20].rstrip('_').replace('_', '-')}"
        log = tmp_path / f"{len(runs)}.log"
        command = [sys.executable, str(ROOT / "launch.py"), "local", f"--job-name={name}", *map(str, words)]
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"TMPDIR": str(temporary)},
                start_new_session=True,
            )
        runs.append(Run(name, process, log))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.interrupt()
            run.wait()
        left = docker("ps", "--all", "--quiet", f"--filter=label={engine.JOB_LABEL}={run.name}")
        project = f"--filter=label=com.docker.compose.project={engine.compose_project(run.name)}"
        left += docker("network", "ls", "--quiet", project)
        shutil.rmtree(run.folder, ignore_errors=True)
        assert left == [], run.text
        assert list(temporary.iterdir()) == [], run.text


@pytest.fixture
def run(started: Callable[..., Run]) -> Callable[..., Run]:
    """Run to the end and check the exit code."""

    def finish(*words: object, exit_code: int = 0) -> Run:
        done = started(*words)
        assert done.wait() == exit_code, done.text
        assert "Traceback" not in done.text, done.text
        if exit_code == 0:
            assert warnings_in(done.text) == [], done.text
            assert "ERROR" not in done.text, done.text
        return done

    return finish
