"""Docker Compose for the SDK."""

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest

from launcher.local import engine
from support.launching import fake_docker

pytestmark = pytest.mark.usefixtures("no_aws")


@pytest.mark.parametrize(
    ("plugin", "has_standalone", "needs_shim"),
    [
        ("Docker Compose version v2.29.1", False, False),
        ("Docker Compose version 5.0.0", False, True),
        ("Docker Compose version 2.26.1-4", False, True),
        ("Docker Compose version 5.0.0", True, False),
        (None, True, False),
    ],
)
def test_compose_is_found_where_the_sdk_would_not_find_it(monkeypatch, tmp_path, plugin, has_standalone, needs_shim):
    answer = f"echo '{plugin}' '|' \"$@\" ;;" if plugin else "exit 1 ;;"
    fake_docker(tmp_path, f"compose*) {answer}")
    if has_standalone:
        (tmp_path / "docker-compose").write_text("#!/bin/sh\n")
        (tmp_path / "docker-compose").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with engine.compose_for_sdk() as variables:
        assert bool(variables) == needs_shim
        if needs_shim:
            done = subprocess.run(
                ["docker-compose", "-f", "a file", "up"],
                env=os.environ | variables,
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == f"{plugin} | compose -f a file up"
            shim = Path(variables["PATH"].split(os.pathsep)[0])
            assert shim.is_dir()
    assert not needs_shim or not shim.exists()


@pytest.mark.parametrize("name", ["a:b", "a,b", 'a"b', "a b", "a=b", "ä", "a\nb", "source=/x,target=/y"])
def test_a_mount_takes_every_legal_name(name):
    """docker reads the value as a line of CSV; Python's csv reads it as Go's does."""
    option = engine.bind_mount(Path("/data") / name, f"/opt/{name}")
    [fields] = csv.reader(io.StringIO(option.removeprefix("--mount="), newline=""))
    assert fields == ["type=bind", f"source=/data/{name}", f"target=/opt/{name}", "readonly"]
