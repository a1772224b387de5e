"""Without a network a job trains to its end, and tries nothing; what it was told in secret it keeps."""

from __future__ import annotations

import re
from collections.abc import Callable

from containers import IMAGE_WITH_TOOLS, QUICK, ContainerJob, running

Make = Callable[..., ContainerJob]

TRACE = "/opt/ml/output/trace"
STRACE = (
    "env", "LD_LIBRARY_PATH=/opt/test-tools/strace", "/opt/test-tools/strace/strace", "-E", "LD_LIBRARY_PATH",
    "--follow-forks", "--quiet=all", "--trace=connect,sendto,sendmsg,sendmmsg", "--output", TRACE,
)  # fmt: skip
CANARY = "canary-5f0c7a9e"


def outside(line: str) -> bool:
    """Whether a system call names an address that is neither this host's loopback nor a socket file."""
    addresses = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
    return any(
        not (address.startswith("127.") or address in ("::1", "::"))
        for pair in addresses
        for address in pair
        if address
    )


def test_a_run_without_a_network_calls_nobody_and_keeps_its_secrets(ready_job: Make) -> None:
    variables = {name: f"{CANARY}-{name}" for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_PASSWORD")}
    job = ready_job(QUICK | {"epochs": "1"})
    with running(job, image=IMAGE_WITH_TOOLS, command=[*STRACE, "train"], environment=variables) as job:
        assert job.wait() == {"algo-1": 0}, job.log()
        assert job.manifest() is not None
        trace = (job.folder("algo-1", "output") / "trace").read_text().splitlines()
        assert any("connect(" in line for line in trace)  # nscd's socket, so something was traced
        assert [line for line in trace if outside(line)] == []
        assert CANARY not in job.log()
        for folder in ("model", "output"):
            for path in job.folder("algo-1", folder).rglob("*"):
                assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_an_attempt_would_show() -> None:
    assert outside('9 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = -1')
    assert outside('9 connect(3, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = -1')
    assert not outside('9 connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16) = 0')
    assert not outside('9 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT')
