"""Several processes of one server, with a script in the place of serve.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from text_classifier.serving import workers

#: Is ready at once, writes its GPU and threads to a file, and stops on a signal; fails if its GPU is "bad".
SCRIPT = """
import os, signal, sys, time
from pathlib import Path

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
is_first = len(sys.argv) == 3
others = list(Path("started").iterdir())
Path("started", str(os.getpid())).write_text(f"{is_first} {len(others) > 0} {gpu} {os.environ.get('OMP_NUM_THREADS')}")
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
if gpu == "bad":
    if is_first:  # as the kernel does a moment before the process has ended
        os.close(int(sys.argv[2]))
        time.sleep(0.5)
    sys.exit(3)
if is_first:
    os.write(int(sys.argv[2]), b"1")
while True:
    signal.pause()
"""

PARENT = """
import sys
from text_classifier.serving.workers import Workers
sys.exit(Workers("script.py", 0, int(sys.argv[1]), int(sys.argv[2])).run())
"""


class Parent:
    """A process that runs Workers."""

    def __init__(self, folder: Path, count: int, gpus: int, **variables: str) -> None:
        (folder / "script.py").write_text(SCRIPT)
        self.started = folder / "started"
        self.started.mkdir()
        path = str(Path(workers.__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(count), str(gpus)],
            cwd=folder, env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **variables}, stdin=subprocess.PIPE,
        )  # fmt: skip

    def wait_for(self, count: int) -> list[str]:
        """What the workers wrote, once there are as many."""
        while len(found := [text for path in self.started.iterdir() if (text := path.read_text())]) < count:
            assert self.process.poll() is None
        return sorted(found)

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_others_start_once_the_first_is_ready_and_all_stop_with_the_parent(tmp_path: Path, number: int) -> None:
    parent = Parent(tmp_path, 3, 0, OMP_NUM_THREADS="1")
    assert parent.wait_for(3) == ["False True none 1", "False True none 1", "True False none 1"]
    assert parent.stop(number) == 0
    assert all(not Path("/proc", path.name).exists() for path in parent.started.iterdir())


@pytest.mark.parametrize(("visible", "names"), [(None, ["0", "1"]), ("4, 7", ["4", "7"])])
def test_each_has_a_gpu_and_its_share_of_the_cores(tmp_path: Path, visible: str | None, names: list[str]) -> None:
    parent = Parent(tmp_path, 2, 2, **({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}))
    found = [text.split() for text in parent.wait_for(2)]
    assert sorted(gpu for _, _, gpu, _ in found) == names
    assert all(int(threads) >= 1 for *_, threads in found)
    assert parent.stop(signal.SIGTERM) == 0


def test_one_that_ends_ends_all(tmp_path: Path) -> None:
    parent = Parent(tmp_path, 3, 0)
    parent.wait_for(3)
    os.kill(int(next(parent.started.iterdir()).name), signal.SIGKILL)
    assert parent.process.wait(20) == 1
    assert all(not Path("/proc", path.name).exists() for path in parent.started.iterdir())


def test_one_that_cannot_start_is_tried_once(tmp_path: Path) -> None:
    parent = Parent(tmp_path, 2, 1, CUDA_VISIBLE_DEVICES="bad")
    assert parent.process.wait(20) == 1
    assert len(list(parent.started.iterdir())) == 1


@pytest.mark.parametrize(("cpus", "gpus", "count"), [(2, 0, 1), (16, 0, 2), (96, 0, 12), (96, 8, 8), (4, 1, 1)])
def test_the_usual_count(cpus: int, gpus: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "usable_cpus", lambda: cpus)
    assert workers.usual_count(gpus) == count
