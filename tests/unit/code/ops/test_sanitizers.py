"""kernels.cpp and wordpiece.cpp under AddressSanitizer and UndefinedBehaviorSanitizer; for longer by `make fuzz`."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.sanitizers import libraries

#: In the tests' image, where there is no compiler.
READY = Path("/opt/test-tools/sanitized")
SECONDS = os.environ.get("FUZZ_SECONDS", "10")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if READY.exists():
        return READY
    made = tmp_path_factory.mktemp("sanitized")
    command = [sys.executable, libraries.__file__, str(made)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    return made


def fuzz(target: str, folder: Path, seed: int) -> subprocess.CompletedProcess[str]:
    preloaded = [*(str(folder / name) for name in libraries.RUNTIMES), "libstdc++.so.6"]
    variables = {
        "LD_PRELOAD": " ".join(preloaded),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TEXT_OPS": "auto",
    }
    command = [sys.executable, "-m", "support.sanitizers.fuzz", target, str(folder), SECONDS, str(seed)]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["kernels", "wordpiece"])
def test_random_input_finds_no_mistake(target: str, folder: Path) -> None:
    seed = random.randrange(1_000_000)  # other input in each run; the output names the round that fails
    done = fuzz(target, folder, seed)
    assert done.returncode == 0, done.stderr[-5000:]
    (rounds,) = re.findall(r"^(\d+) rounds$", done.stdout, re.MULTILINE)
    assert int(rounds) > 1


def test_a_mistake_would_be_found(folder: Path) -> None:
    done = fuzz("overflow", folder, 0)
    assert done.returncode != 0
    assert "ERROR: AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "sum_rows" in done.stderr
