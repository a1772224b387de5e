"""A job needs only its inputs and outputs: no network, capability, other writable folder or special user."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.containers import ENDLESS, IMAGE_WITH_TOOLS, INSIDE, QUICK, ContainerJob, running
from support.jobs import warnings_in

Make = Callable[..., ContainerJob]

SHORT = QUICK | {"epochs": "1"}
TIGHT = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "", f"{INSIDE}/checkpoints": "mode=1777"},
}
STRACE = (
    "env", "LD_LIBRARY_PATH=/opt/test-tools/strace", "/opt/test-tools/strace/strace", "-E", "LD_LIBRARY_PATH",
    "--follow-forks", "--quiet=all", "--trace=execve,connect,sendto,sendmsg,sendmmsg",
    "--output", f"{INSIDE}/output/trace",
)  # fmt: skip
CANARY = "canary-5f0c7a9e"

#: A user other than root. Only root can give folders to another user; other users own the folders themselves.
SOMEBODY = os.getuid() or 12345


@pytest.fixture
def owned_job(ready_job: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a job whose output folders belong to SOMEBODY, with these permissions."""
    prepare = ContainerJob._prepare

    def make(hyperparameters: dict[str, str], mode: int) -> ContainerJob:
        def prepare_owned(job: ContainerJob, host: str) -> None:
            prepare(job, host)
            for name in ("model", "output", "output/data"):
                os.chown(job.folder(host, name), SOMEBODY, SOMEBODY)
                job.folder(host, name).chmod(mode)

        monkeypatch.setattr(ContainerJob, "_prepare", prepare_owned)
        return ready_job(hyperparameters)

    return make


def owners(folder: Path) -> set[int]:
    return {path.stat().st_uid for path in (folder, *folder.rglob("*"))}


def outside(line: str) -> bool:
    """Whether a system call names an address that is neither this host's loopback nor a socket file."""
    found = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
    return any(not re.match(r"127\.|::1?$", version_4 or version_6) for version_4, version_6 in found)


def test_any_user_trains_without_privileges_or_network_and_calls_nobody(ready_job: Make) -> None:
    """Secrets in its environment do not appear in its output either."""
    job = ready_job(SHORT)
    secrets = {name: f"{CANARY}-{name}" for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_PASSWORD")}
    options = {"image": IMAGE_WITH_TOOLS, "command": [*STRACE, "train"], "user": "12345:12345", "environment": secrets}
    with running(job, **options, **TIGHT):
        assert job.wait() == {"algo-1": 0}, job.log()
        assert job.manifest() is not None
        assert warnings_in(job.log()) == []
        assert not job.containers["algo-1"].diff()
        trace = (job.folder("algo-1", "output") / "trace").read_text().splitlines()
        assert any("execve(" in line and "train.py" in line for line in trace)  # the training process was traced
        assert [line for line in trace if outside(line)] == []
        assert CANARY not in job.log()
        written = [path for name in ("model", "output") for path in job.folder("algo-1", name).rglob("*")]
        assert [path for path in written if path.is_file() and CANARY.encode() in path.read_bytes()] == []


def test_a_call_would_show() -> None:
    assert outside('9 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = -1')
    assert outside('9 connect(3, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = -1')
    assert not outside('9 connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16) = 0')
    assert not outside('9 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT')


def test_root_without_capabilities_trains_as_root_and_says_so_once(owned_job: Make) -> None:
    with running(owned_job(SHORT, 0o777), **TIGHT) as job:
        assert job.wait() == {"algo-1": 0}, job.log()
        sentence = f"Training runs as root, not as user {SOMEBODY}, who owns {INSIDE}/model: the container has no CAP_"
        assert job.log().count(sentence) == 1
        assert warnings_in(job.log()) == []
        assert not job.containers["algo-1"].diff()


def test_training_runs_as_the_owner_of_the_model_folder(owned_job: Make) -> None:
    """The job can also be stopped, and none of its files belongs to root."""
    with running(owned_job(ENDLESS, 0o755)) as job:
        job.wait_for("step 20 ")
        assert f"Training runs as user {SOMEBODY}, who owns {INSIDE}/model\n" in job.log()
        job.stop_signal()
        assert job.wait() == {"algo-1": 0}, job.log()
        manifest = job.manifest()
        assert manifest is not None and manifest["status"] == "stopped"
        assert warnings_in(job.log()) == []
        assert owners(job.folder("algo-1", "model")) | owners(job.folder("algo-1", "output")) == {SOMEBODY}
        written = {change["Path"] for change in job.containers["algo-1"].diff()}
        assert {path for path in written if not path.startswith((f"{INSIDE}/checkpoints", "/tmp"))} <= {"/opt", INSIDE}


def test_a_failure_file_belongs_to_the_owner_too(owned_job: Make) -> None:
    with running(owned_job(SHORT | {"epocs": "3"}, 0o755)) as job:
        assert job.wait() == {"algo-1": 1}
        assert job.failure().startswith("Your settings: unknown hyperparameter 'epocs'")
        assert owners(job.folder("algo-1", "output")) == {SOMEBODY}
