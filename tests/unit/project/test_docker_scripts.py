"""docker/*.sh against a PATH of stand-ins, so that nothing is installed and no daemon is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import ROOT

DOCKER = ROOT / "docker"

# What the scripts use besides that which a test replaces.
TOOLS = ("bash", "cat", "chmod", "cut", "du", "env", "mkdir", "mktemp", "rm", "setsid", "sleep", "tail", "tar", "touch")

# An engine that answers once the file "running" is there.
CLIENT = '[ "$1" = compose ] && exit 1; [ -e "$STATE/running" ]'
DAEMON = 'touch "$STATE/running"; sleep 1'


@dataclass(frozen=True)
class Machine:
    """A PATH with chosen programs only, and a folder in which they leave traces."""

    bin: Path
    state: Path

    def add(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (self.bin / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.add("id", f'[ "$1" = -u ] && echo {number} || echo somebody')

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "PATH": str(self.bin),
            "STATE": str(self.state),
            "TMPDIR": str(self.state / "tmp"),
            "DOCKERD_LOG": str(self.state / "dockerd.log"),
        }
        return subprocess.run(
            [str(DOCKER / script), *arguments],
            env=settings | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def installed(self) -> str:
        log = self.state / "installed"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "bin", tmp_path / "state")
    machine.bin.mkdir()
    (machine.state / "tmp").mkdir(parents=True)
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path, f"this machine has no {tool}"
        (machine.bin / tool).symlink_to(path)
    machine.user(1000)
    return machine


@pytest.fixture
def debian(machine: Machine) -> Machine:
    """Root on a Debian without Docker; its apt-get "installs" a client, a daemon and Compose."""
    machine.user(0)
    machine.add("client", CLIENT)
    machine.add("daemon", DAEMON)
    machine.add("apt-cache", "exit 1")
    machine.add(
        "apt-get",
        """
[ "$1" = install ] || exit 0
echo "$@" >>"$STATE/installed"
case "$*" in *docker.io*) cp "${0%/*}/client" "${0%/*}/docker"; cp "${0%/*}/daemon" "${0%/*}/dockerd" ;; esac
case "$*" in *docker-compose*) cp "${0%/*}/client" "${0%/*}/docker-compose" ;; esac
""",
    )
    (machine.bin / "cp").symlink_to(str(shutil.which("cp")))
    return machine


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused user reads."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_an_engine_that_answers_is_left_alone(debian: Machine) -> None:
    debian.add("docker", "exit 0")
    started = time.monotonic()
    result = debian.run("ensure-engine.sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert time.monotonic() - started < 1
    assert debian.installed() == ""


def test_without_docker_and_not_root_one_sentence_says_what_to_install(machine: Machine) -> None:
    assert "install Docker Engine and Docker Compose" in sentence(machine.run("ensure-engine.sh"))


def test_a_user_whom_the_engine_refuses_is_told_of_the_group(machine: Machine) -> None:
    machine.add("docker", 'echo "permission denied while trying to connect" >&2; exit 1')
    assert "usermod -aG docker somebody" in sentence(machine.run("ensure-engine.sh"))


def test_an_engine_elsewhere_that_does_not_answer_is_named_and_nothing_is_installed(debian: Machine) -> None:
    debian.add("docker", "exit 1")
    result = debian.run("ensure-engine.sh", DOCKER_HOST="tcp://192.0.2.1:2375")
    assert "DOCKER_HOST=tcp://192.0.2.1:2375" in sentence(result)
    assert debian.installed() == ""


@pytest.mark.parametrize("present", [(), ("docker",), ("dockerd",)])
def test_what_is_missing_of_the_engine_is_installed_and_started(debian: Machine, present: tuple[str, ...]) -> None:
    for name in present:
        debian.add(name, {"docker": CLIENT, "dockerd": DAEMON}[name])
    result = debian.run("ensure-engine.sh")
    assert result.returncode == 0, result
    assert "docker.io docker-compose" in debian.installed()
    assert (debian.state / "running").exists()


def test_a_daemon_that_is_installed_but_not_running_is_only_started(debian: Machine) -> None:
    debian.add("docker", CLIENT)
    debian.add("dockerd", DAEMON)
    debian.add("docker-compose", "exit 0")
    result = debian.run("ensure-engine.sh")
    assert result.returncode == 0, result
    assert debian.installed() == ""
    assert (debian.state / "running").exists()


def test_a_daemon_that_does_not_start_is_explained_by_its_log(debian: Machine) -> None:
    debian.add("docker", CLIENT)
    debian.add("dockerd", "echo failed to mount cgroup >&2; exit 1")
    result = debian.run("ensure-engine.sh")
    assert result.returncode == 1
    assert "failed to mount cgroup" in result.stderr
    assert "dockerd does not respond" in result.stderr.splitlines()[-1]


def test_a_package_that_cannot_be_installed_is_named(debian: Machine) -> None:
    debian.add("apt-get", '[ "$1" = update ]')
    result = debian.run("ensure-engine.sh")
    assert result.returncode == 1
    assert "docker.io docker-compose" in result.stderr.splitlines()[-1]


def test_missing_compose_is_one_sentence_for_a_user(machine: Machine) -> None:
    machine.add("docker", '[ "$1" != compose ]')
    assert "Docker Compose is missing" in sentence(machine.run("ensure-engine.sh"))


def test_missing_compose_is_installed_by_root(debian: Machine) -> None:
    debian.add("docker", '[ "$1" != compose ]')
    assert debian.run("ensure-engine.sh").returncode == 0
    assert debian.installed().endswith(" docker-compose\n")


def test_the_standin_base_needs_root(machine: Machine) -> None:
    machine.add("docker", "exit 1")
    line = sentence(machine.run("standin-base.sh"))
    assert "needs root" in line
    assert "set BASE_IMAGE" in line


def test_the_standin_base_is_not_made_twice(machine: Machine) -> None:
    machine.add("docker", 'test "$*" = "image inspect standin-base:bookworm"')
    result = machine.run("standin-base.sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.fixture
def with_debootstrap(machine: Machine) -> Machine:
    machine.user(0)
    machine.add("umount", "exit 0")
    machine.add(
        "docker", '[ "$1" = build ] && echo "$@" >"$STATE/build" && tar -t -f "${!#}/root.tar" >"$STATE/content"'
    )
    machine.add("debootstrap", 'mkdir -p "$4/etc" && echo "$1 $2 $3 $5" >"$STATE/arguments"')
    return machine


def test_the_standin_base_is_built_and_nothing_is_left_behind(with_debootstrap: Machine) -> None:
    result = with_debootstrap.run("standin-base.sh")
    assert result.returncode == 0, result
    assert (with_debootstrap.state / "arguments").read_text() == "--variant=minbase --arch=amd64 bookworm \n"
    assert "--platform linux/amd64 --tag standin-base:bookworm " in (with_debootstrap.state / "build").read_text()
    assert "./etc/" in (with_debootstrap.state / "content").read_text()
    assert list((with_debootstrap.state / "tmp").iterdir()) == []


def test_a_mirror_is_handed_to_debootstrap(with_debootstrap: Machine) -> None:
    assert with_debootstrap.run("standin-base.sh", DEBOOTSTRAP_MIRROR="file:///mirror").returncode == 0
    assert (with_debootstrap.state / "arguments").read_text().endswith(" file:///mirror\n")


def test_a_failed_debootstrap_is_explained_and_nothing_is_left_behind(with_debootstrap: Machine) -> None:
    with_debootstrap.add("debootstrap", "echo E: Failed getting release file; exit 1")
    result = with_debootstrap.run("standin-base.sh")
    assert result.returncode == 1
    assert "E: Failed getting release file" in result.stderr
    assert "set BASE_IMAGE" in result.stderr.splitlines()[-1]
    assert not (with_debootstrap.state / "build").exists()
    assert list((with_debootstrap.state / "tmp").iterdir()) == []


def test_a_list_of_what_to_drop_that_has_gone_stale_is_an_error(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "venv/lib/python3.12/site-packages").mkdir(parents=True)
    assert "no file matches for: triton" in sentence(machine.run("drop-unused.sh", str(tmp_path / "venv")))


@pytest.mark.parametrize("script", ["ensure-engine.sh", "standin-base.sh", "drop-unused.sh", "pin-base.sh"])
def test_usage(machine: Machine, script: str) -> None:
    asked = machine.run(script, "--help")
    assert asked.returncode == 0
    assert asked.stdout.startswith("Usage: ")
    wrong = machine.run(script, *([] if script == "drop-unused.sh" else ["--no-such"]))
    assert wrong.returncode == 2
    assert wrong.stderr == asked.stdout


def test_every_script_can_be_executed() -> None:
    assert [script.name for script in DOCKER.glob("*.sh") if not os.access(script, os.X_OK)] == []
