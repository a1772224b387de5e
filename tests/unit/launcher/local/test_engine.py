"""Docker Compose for the SDK."""

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest

from launcher.local import engine
from support.launching import fake_docker
from text_classifier.contract.errors import UserError

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


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ("exit 0", "does not see this machine's folder"),  # an empty folder of this name, and a `cat` that says nothing
        ("echo 'cat: /probe/probe: No such file or directory' >&2; exit 1", "does not see this machine's folder"),
        ("echo 'docker: invalid mount config: bind source path does not exist: /x.' >&2; exit 125", "does not see"),
        ("echo 'docker: Error response from daemon: OCI runtime' >&2; exit 125", "cannot be started (OCI runtime)"),
        ("printf 'docker: x.\\n\\nRun docker run --help for more\\n' >&2; exit 125", "cannot be started (x); fix that"),
        (
            "echo 'docker: write /x: no space left on device.' >&2; exit 125",
            "`docker system df` shows what Docker keeps",
        ),
    ],
)
def test_an_engine_that_does_not_see_the_folder_is_found_before_training(monkeypatch, tmp_path, run, sentence):
    fake_docker(tmp_path / "bin", f"run*) {run} ;;")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(UserError) as error:
        engine.require_shared(tmp_path, "image")
    assert sentence in str(error.value)
    assert not (tmp_path / "probe").exists()


def test_an_engine_that_sees_the_folder_passes(monkeypatch, tmp_path):
    fake_docker(tmp_path / "bin", f"run*) cat {tmp_path}/probe ;;")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    engine.require_shared(tmp_path, "image")
    (tmp_path / "a:b").mkdir()
    with pytest.raises(UserError, match="has the character : in its name"):
        engine.require_shared(tmp_path / "a:b", "image")


def test_a_user_whom_the_engine_refuses_is_told_the_group(monkeypatch, tmp_path):
    refusal = "Got permission denied while trying to connect to the Docker daemon socket"
    fake_docker(tmp_path / "bin", f"version*) echo '{refusal}' >&2; exit 1 ;;")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"join the group docker \(sudo usermod -aG docker \w+\) and log in again"):
        engine.require_engine()


@pytest.mark.parametrize(
    ("host", "message", "sentence"),
    [
        ("", "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "respond; start it"),
        ("", "", "respond; start it"),
        ("", 'context "x": context not found', 'context does not respond (context "x": context not found); choose'),
        ("", "error during connect: dial tcp 10.0.0.1:2375: i/o timeout", "i/o timeout); choose another context"),
        (
            "",
            "Cannot connect to the Docker daemon at tcp://h:1. Is the docker daemon running?",
            "choose another context",
        ),
        (
            "tcp://h:1",
            "Cannot connect to the Docker daemon at tcp://h:1.",
            "of DOCKER_HOST=tcp://h:1 does not respond (",
        ),
        ("tcp://h:1", "", "the Docker engine of DOCKER_HOST=tcp://h:1 does not respond; correct or unset DOCKER_HOST"),
        ("", "client version 1.52 is too new", "(client version 1.52 is too new); correct that, and check"),
        ("", "dial unix /var/run/docker.sock: connect: permission denied", "join the group docker"),
        ("", "open /root/.docker/config.json: permission denied", "config.json: permission denied); correct that"),
    ],
)
def test_the_cause_of_an_engine_that_does_not_respond_is_named(monkeypatch, tmp_path, host, message, sentence):
    fake_docker(tmp_path, f"version*) echo '{message}' >&2; exit 1 ;;")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(UserError) as error:
        engine.require_engine()
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("version", engine.require_engine),
        ("image", lambda: engine.has_image("name:v1")),
        ("compose", lambda: engine.compose_for_sdk().__enter__()),
    ],
)
def test_an_engine_that_is_too_slow_is_one_sentence(monkeypatch, tmp_path, command, call):
    fake_docker(tmp_path, f"{command}*) exec sleep 60 ;;")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "_ANSWER_SECONDS", 0.2)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value) == (
        f"the Docker engine does not respond (`docker {command}` has not ended after 0.2 s); correct that, and check "
        "`docker version`"
    )


def test_a_probe_that_does_not_end_says_so_and_clean_up_goes_on(monkeypatch, tmp_path):
    fake_docker(tmp_path / "bin", "*) exec sleep 60 ;;")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"cannot be started \(`docker run` has not ended after 0.2 s\)"):
        engine.require_shared(tmp_path, "image")
    engine.remove_job("job")
    engine.remove_container("name")
    engine.interrupt_container("name")


def test_a_mount_that_the_engine_does_not_see_is_named():
    message = 'docker: Error response from daemon: invalid mount config for type "bind": bind source path does not '
    assert "folder /data/x.tsv (it" in (engine.unseen_mount(f"{message}exist: /data/x.tsv.\nSee help.\n") or "")
    assert engine.unseen_mount("docker: no such image") is None
