"""A run of `launch.py local` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.local import local_job

SECONDS = 600


def docker(*arguments: str) -> list[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


@dataclass
class Run:
    """One run of `launch.py local`; it has ended unless the fixture `started` returned it."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def folder(self) -> Path:
        return local_job.RUNS / self.name

    @property
    def text(self) -> str:
        """Everything printed so far, stdout and stderr."""
        return self.log.read_text()

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "output" / "data" / "metrics.json").read_text())

    def wait(self) -> int:
        return self.process.wait(timeout=SECONDS)

    def wait_for(self, text: str) -> None:
        """Wait until the run has printed this text."""
        end = time.monotonic() + SECONDS
        while text not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.2)

    def interrupt(self) -> None:
        """Press Ctrl-C: the whole foreground process group gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def archive(self, name: str) -> list[str]:
        with tarfile.open(self.folder / name) as tar:
            return sorted(tar.getnames())
