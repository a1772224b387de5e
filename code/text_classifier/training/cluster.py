"""The processes of a job as torch.distributed sees them. One process alone needs none of it and starts none."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from text_classifier.contract.errors import JobError, PeerError, PlatformError, describe, first_line
from text_classifier.runtime import gpu
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import Stopped, StopSignal
from text_classifier.training.peers import Peers

#: Hosts of a job do not start at the same time.
RENDEZVOUS_SECONDS = 300

#: Given to what else waits for the others, so that it comes second: NCCL's own watchdog, which ends a process without a
#: word, behind the check that all make at each step; the end of `join` behind its parts.
GRACE_SECONDS = 10


class Cluster:
    """This process's rank, how many there are, its device, and what they do together.

    Raises PlatformError when there are GPUs that torch cannot use.
    """

    def __init__(self, hosts: Hosts, collective_timeout_seconds: int) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = _device()
        self._hosts = hosts
        self._timeout = timedelta(seconds=collective_timeout_seconds)
        self._peers: Peers | None = None
        self._control: dist.ProcessGroup | None = None  # None: the default one

    def join(self) -> None:
        """Meet the other processes. Raises PlatformError that names the hosts that did not come."""
        if self.world_size == 1:
            return
        self._peers = peers = Peers(self.rank)
        patience = RENDEZVOUS_SECONDS + self._timeout.total_seconds() + GRACE_SECONDS
        try:
            _within(patience, lambda: self._join(peers))
        except TimeoutError as error:
            raise self._lost(peers.silent() or [0], error) from None

    def _join(self, peers: Peers) -> None:
        store = self._meet(peers)
        self._choose_interface()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # each thread has its own
            patience = self._timeout + timedelta(seconds=GRACE_SECONDS)
            dist.init_process_group(
                "nccl", store=store, rank=self.rank, world_size=self.world_size, timeout=patience, device_id=self.device
            )
            self._control = dist.new_group(backend="gloo", timeout=self._timeout)
        else:
            dist.init_process_group(
                "gloo", store=store, rank=self.rank, world_size=self.world_size, timeout=self._timeout
            )
        self.barrier()

    def _meet(self, peers: Peers) -> dist.Store:
        """Wait until every process has said where it answers. A leader that answered and is gone is not waited for."""
        leader, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        deadline = time.monotonic() + RENDEZVOUS_SECONDS
        if self.rank and not _answers((leader, port), deadline):
            raise self._missing([0])
        try:
            store = dist.TCPStore(leader, port, None, self.rank == 0, timeout=self._timeout, wait_for_workers=False)
        except dist.DistError as error:
            raise self._lost([0], error) from None
        name = self._hosts.of_rank(self.rank, self.world_size) if len(self._hosts.names) > 1 else leader
        keys = [f"address/{rank}" for rank in range(self.world_size)]
        try:
            store.set(keys[self.rank], f"{name}:{peers.port}")
            store.wait(keys, timedelta(seconds=max(1.0, deadline - time.monotonic())))
            addresses = [store.get(key).decode().rpartition(":") for key in keys]
        except dist.DistNetworkError as error:
            raise self._lost([0], error) from None
        except dist.DistError:
            raise self._missing(_absent(store, keys)) from None
        peers.know({rank: (host, int(port)) for rank, (host, _, port) in enumerate(addresses)})
        return store

    def _missing(self, ranks: Sequence[int]) -> PlatformError:
        return PlatformError(
            f"{self._names(ranks)} did not join within {RENDEZVOUS_SECONDS} s; look at its log for the cause, "
            "then start the job again"
        )

    def _names(self, ranks: Sequence[int]) -> str:
        """The processes as a person knows them: by host."""
        names = dict.fromkeys(self._hosts.of_rank(rank, self.world_size) for rank in ranks)
        word = "host" if len(names) == 1 else "hosts"
        process = f" (process {', '.join(map(str, ranks))})" if self.world_size > len(self._hosts.names) else ""
        return f"{word} {', '.join(names)}{process}"

    def _choose_interface(self) -> None:
        """For gloo and NCCL, unless the user has chosen."""
        if len(self._hosts.names) == 1:
            return
        interface, warning = self._hosts.reachable_interface(os.environ["MASTER_ADDR"])
        if warning and os.environ.get("LOCAL_RANK", "0") == "0":
            print(warning, flush=True)
        if interface:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes the model and the metrics."""
        return self.rank == 0

    def print0(self, text: str) -> None:
        """Print on rank 0 alone."""
        if self.is_rank_zero:
            print(text, flush=True)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor, group=self._control if tensor.device.type == "cpu" else None)
        return tensor

    def any_rank_each(self, *claims: bool) -> list[bool]:
        """For each claim, whether it holds on at least one rank: all ranks get the same answers."""
        return (
            list(claims)
            if self.world_size == 1
            else self.all_reduce(torch.tensor(claims, dtype=torch.int32)).bool().tolist()
        )

    def any_rank(self, claim: bool) -> bool:
        """Whether the claim holds on at least one rank."""
        return self.any_rank_each(claim)[0]

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all ranks, of one shape and on the CPU, stacked in the order of the ranks."""
        gathered = torch.zeros(self.world_size, *tensor.shape, dtype=tensor.dtype)
        gathered[self.rank] = tensor
        return self.all_reduce(gathered)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.any_rank(False)

    def leave(self) -> None:
        """Part from the others in order."""
        if self.world_size > 1:
            self.barrier()
            dist.destroy_process_group()

    def diagnose(self, error: Exception, stop: StopSignal) -> Exception:
        """Say what an error on this process means for the job: tell the others, or find out which of them is gone."""
        if self._peers is None or isinstance(error, Stopped):
            return error
        if not _is_lost_connection(error):
            self._peers.tell(first_line(error))
            return error
        silent = self._peers.silent()
        if stop.requested:
            return Stopped(f"stopped; {self._names(silent)} had ended before" if silent else "stopped")
        if self._peers.heard:
            rank, reason = next(iter(self._peers.heard.items()))
            return PeerError(reason, self._hosts.of_rank(rank, self.world_size))
        found = self._lost(silent, error)
        self._peers.tell(describe(found))
        return found

    def _lost(self, silent: Sequence[int], error: Exception) -> JobError:
        detail = " ".join(str(error).split())
        if not silent:
            return PlatformError(
                f"the hosts lost touch with each other, though all of them answer; start the job again\n{detail}"
            )
        verb, log = ("was", "its log") if len(silent) == 1 else ("were", "their logs")
        seconds = self._timeout.total_seconds()
        is_timeout = "Timed out" in detail or "wait timeout" in detail  # gloo's words, and the store's
        after = f"no answer for {seconds:g} s" if is_timeout else "the connection was closed"
        return PlatformError(
            f"{self._names(silent)} {verb} lost: {after}; look at the end of {log} (out of memory? reclaimed?), "
            f"then start the job again\n{detail}"
        )


def _device() -> torch.device:
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))  # what is on the default one cannot be recorded (step.py)
        return device
    if gpu.count(gpu.capabilities()):
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise PlatformError(f"torch cannot use the host's GPUs ({reason}); start the job again") from None
    return torch.device("cpu")


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do the work in a thread, and leave that behind with a TimeoutError when it is not done in time.

    torch's store waits without end for a leader that falls silent, as a host does whose power is cut.
    """
    ends: list[Exception | None] = []

    def run() -> None:
        try:
            work()
            ends.append(None)
        except Exception as error:
            ends.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ends:
        raise TimeoutError("Timed out while the hosts joined")
    if ends[0]:
        raise ends[0]


def _answers(address: tuple[str, int], deadline: float) -> bool:
    """Wait until a port takes connections, and return whether it did by the deadline.

    TCPStore can wait, too, but for up to twice as long as it is told: an attempt gives up before its time is over, and
    the next one gets all of it again. For a host whose name is gone 300 s became 618.
    """
    while (left := deadline - time.monotonic()) > 0:
        try:
            socket.create_connection(address, timeout=left).close()
            return True
        except OSError:  # it has not started yet, its name is not known yet, or it is gone
            time.sleep(0.5)
    return False


def _absent(store: dist.Store, keys: Sequence[str]) -> list[int]:
    """The ranks whose keys are not there. When the store does not answer it is the leader that is gone."""
    try:
        return [rank for rank, key in enumerate(keys) if not store.check([key])] or [0]
    except dist.DistError:
        return [0]


def _is_lost_connection(error: Exception) -> bool:
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))
