from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch.distributed as dist

from support.jobs import wait
from text_classifier.contract.errors import DataError, PlatformError, describe
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import Stopped, StopSignal
from text_classifier.training import cluster as module
from text_classifier.training.cluster import Cluster
from text_classifier.training.peers import Peers

HOSTS = Hosts(("algo-1", "algo-2", "algo-3"), "algo-1", None)
TIMED_OUT = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 60000ms for recv operation")
STORE_TIMED_OUT = dist.DistStoreError("wait timeout after 60000ms, keys: /0//cpu//0/1")
CLOSED = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.3]:1234")

MakeCluster = Callable[..., Cluster]


class FakePeers(Peers):
    """Some do not answer."""

    def __init__(self, unreachable: list[int], reported: dict[int, str]) -> None:
        self._unreachable = unreachable
        self.reported = reported
        self.sent = ""

    def unreachable(self) -> list[int]:
        return self._unreachable

    def report(self, reason: str) -> None:
        self.sent = reason


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> MakeCluster:
    def make(
        rank: int = 0,
        unreachable: tuple[int, ...] = (),
        reported: dict[int, str] | None = None,
        timeout_seconds: int = 60,
    ) -> Cluster:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        made = Cluster(HOSTS, timeout_seconds)
        made._peers = FakePeers(list(unreachable), reported or {})
        return made

    return make


SHARE = """
import os, psutil, torch
from pathlib import Path
from torch.distributed import TCPStore
from text_classifier.runtime.hosts import Hosts
from text_classifier.training.cluster import SECRET_KEY, Cluster

cluster = Cluster(Hosts.from_resources({}), 60)
cluster.join()
cluster._control = cluster.new_group([0, 1])  # as beside NCCL
torch.manual_seed(cluster.rank)
module = torch.nn.Linear(3, 2)
cluster.share_weights(module)
print({item.laddr.ip for item in psutil.Process().net_connections() if item.status == "LISTEN"})
stranger = TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), None, False, wait_for_workers=False)
print("the stranger reads it" if stranger.check([SECRET_KEY]) else "the stranger reads nothing")
print(module.weight.tolist(), flush=True)
gloo = lambda: sum("gloo" in name.read_text() for name in Path("/proc/self/task").glob("*/comm"))
before = gloo()
cluster.leave()
print("threads of gloo:", "some" if before else "none", "and then", gloo(), flush=True)
"""


def test_all_ranks_start_with_the_weights_of_rank_0_and_leave_no_thread() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    codes, logs = wait(
        [
            subprocess.Popen(
                [sys.executable, "-c", SHARE],
                env=shared | {"RANK": rank},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in "01"
        ]
    )
    assert codes == [0, 0], logs
    one, other = (log.splitlines()[-2] for log in logs)  # torch may print warnings before
    assert one == other and one.startswith("[[")
    for log in logs:  # nothing listens to the network, and the secret is in the store no more
        assert log.splitlines()[-4:-2] == ["{'127.0.0.1'}", "the stranger reads nothing"]
        assert log.splitlines()[-1] == "threads of gloo: some and then 0"


@pytest.mark.parametrize(
    ("error", "unreachable", "sentence"),
    [
        (CLOSED, (2,), "The platform: host algo-3 was lost: the connection was closed; look at the end of its log"),
        (TIMED_OUT, (1,), "The platform: host algo-2 was lost: no answer for 60 s; look at the end of its log"),
        (STORE_TIMED_OUT, (1,), "The platform: host algo-2 was lost: no answer for 60 s; look at the end of its log"),
        (TIMED_OUT, (1, 2), "The platform: hosts algo-2, algo-3 were lost: no answer"),
        (CLOSED, (), "The platform: connections between hosts broke although every host still responds; start the"),
    ],
)
def test_a_lost_connection_names_the_host(
    make: MakeCluster, error: Exception, unreachable: tuple[int, ...], sentence: str
) -> None:
    cluster = make(unreachable=unreachable)
    diagnosed = cluster.diagnose(error, StopSignal())
    assert describe(diagnosed).startswith(sentence)
    assert isinstance(cluster._peers, FakePeers) and cluster._peers.sent == describe(diagnosed)


def test_the_reason_that_another_process_reported_is_given(make: MakeCluster) -> None:
    error = make(unreachable=(1,), reported={1: "Your data: a.csv is bad; fix it"}).diagnose(CLOSED, StopSignal())
    assert describe(error) == "Your data: a.csv is bad; fix it [reported by algo-2]"


def test_a_failure_of_this_process_is_reported_to_the_others(make: MakeCluster) -> None:
    cluster = make()
    error = DataError("a.csv is bad\nmore")
    assert cluster.diagnose(error, StopSignal()) is error
    assert isinstance(cluster._peers, FakePeers) and cluster._peers.sent == "Your data: a.csv is bad"


def test_a_host_that_was_stopped_earlier_is_no_failure_when_this_one_is_stopped_too(make: MakeCluster) -> None:
    stop = StopSignal()
    stop.requested = True
    assert isinstance(make(unreachable=(1,)).diagnose(CLOSED, stop), Stopped)
    stopped = Stopped("x")
    assert make().diagnose(stopped, stop) is stopped


@pytest.mark.parametrize(
    ("rank", "missing", "log"), [(0, "hosts algo-2, algo-3", "their logs"), (1, "host algo-1", "its log")]
)
def test_hosts_that_do_not_join_are_named(
    make: MakeCluster, monkeypatch: pytest.MonkeyPatch, rank: int, missing: str, log: str
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 1)
    with pytest.raises(PlatformError, match=f"{missing} did not join within 1 s; look at {log} for"):
        make(rank).join()


@pytest.mark.parametrize("leader", ["127.0.0.1", "no-such-host.invalid"])
def test_a_leader_that_does_not_join_is_waited_for_once(
    make: MakeCluster, monkeypatch: pytest.MonkeyPatch, leader: str
) -> None:
    cluster = make(1)
    monkeypatch.setenv("MASTER_ADDR", leader)
    monkeypatch.setattr(module, "START_SECONDS", 4)
    started = time.monotonic()
    with pytest.raises(PlatformError, match="host algo-1 did not join within 4 s"):
        cluster.join()
    assert time.monotonic() - started < 6


def test_a_leader_that_is_lost_before_all_have_met_is_named_at_once(make: MakeCluster) -> None:
    cluster = make(1)
    leader = [dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), None, True, wait_for_workers=False)]
    threading.Timer(1.0, leader.clear).start()
    started = time.monotonic()
    with pytest.raises(PlatformError, match="host algo-1 was lost: the connection was closed; look at the end"):
        cluster.join()
    assert time.monotonic() - started < 10


def test_a_leader_that_falls_silent_while_hosts_join_is_named(
    make: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port takes connections, but nobody answers."""
    for name in ("START_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(module, name, 2)
    cluster = make(1, timeout_seconds=2)
    started = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", int(os.environ["MASTER_PORT"]))),
        pytest.raises(PlatformError, match="host algo-1 was lost: no answer for 2 s; look at the end of its log"),
    ):
        cluster.join()
    assert time.monotonic() - started < 8


def test_all_are_waited_for_longer_than_a_collective(make: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make(timeout_seconds=1)
    cluster._store = store = dist.HashStore()
    threading.Timer(1.5, lambda: [store.set(f"here/{rank}", "") for rank in (1, 2)]).start()
    cluster.wait_for_all()
    cluster._store = dist.HashStore()
    cluster._store.set("here/1", "")
    monkeypatch.setattr(module, "START_SECONDS", 1)
    with pytest.raises(PlatformError, match="host algo-3 did not join within 1 s; look at"):
        cluster.wait_for_all()


def test_who_has_failed_is_not_waited_for(make: MakeCluster) -> None:
    cluster = make(reported={2: "Your data: a.csv is bad; fix it"})
    cluster._store = dist.HashStore()
    with pytest.raises(dist.DistError) as failed:
        cluster.wait_for_all()
    assert describe(cluster.diagnose(failed.value, StopSignal())).endswith("bad; fix it [reported by algo-3]")


def test_one_process_alone_joins_nothing() -> None:
    alone = Cluster(Hosts.from_resources({}), 60)
    alone.join()
    assert alone.any_rank(True) and not alone.any_rank(False)
    error = KeyError("x")
    assert alone.diagnose(error, StopSignal()) is error
