"""The processes of a job: rendezvous and collectives by torch.distributed. A single process starts none of it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined,unused-ignore]  # public, but not in __all__
from torch.distributed.distributed_c10d import Store

from text_classifier.contract.errors import PlatformError
from text_classifier.runtime.hosts import START_SECONDS, Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.device import select_device
from text_classifier.training.diagnosis import Diagnosis
from text_classifier.training.peers import Peers

#: Extra seconds for NCCL's watchdog and for `join`, so that our own checks, which can name the lost host, fire first.
GRACE_SECONDS = 10

#: Store key of the secret that authenticates the processes' messages once training has failed (peers.py).
SECRET_KEY = "secret"


class Cluster:
    """This process's rank and device, and the collectives of all processes.

    Raises PlatformError if the host has GPUs that torch cannot use.
    """

    def __init__(self, hosts: Hosts, collective_timeout_seconds: int) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = select_device()
        self._hosts = hosts
        self._timeout = timedelta(seconds=collective_timeout_seconds)
        self._diagnosis = Diagnosis(hosts, self.world_size, collective_timeout_seconds)
        self._peers: Peers | None = None
        self._control: dist.ProcessGroup | None = None  # None: the default one
        self._store: Store | None = None  # once the processes have met

    def join(self) -> None:
        """Connect to the other processes. Raises PlatformError naming the hosts that did not join."""
        if self.world_size == 1:
            return
        patience = START_SECONDS + self._timeout.total_seconds() + GRACE_SECONDS
        try:
            _within(patience, self._join)
        except TimeoutError as error:
            unreachable = self._peers.unreachable() if self._peers else []
            raise self._diagnosis.lost(unreachable or [0], error) from None

    def _join(self) -> None:
        self._store = store = self._meet()
        self._choose_interface()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # per thread
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
        if self.rank == 0:
            store.delete_key(SECRET_KEY)  # all have read it, and a stranger cannot any more

    def wait_for_all(self) -> None:
        """Wait until every process has reached this point, for up to START_SECONDS: longer than a collective may take,
        since hosts prepare their data at different speeds.

        Raises PlatformError naming those that do not come, and DistError when a process has failed meanwhile.
        """
        assert self._store and self._peers
        keys = [f"here/{rank}" for rank in range(self.world_size)]
        self._store.set(keys[self.rank], "here")
        deadline = time.monotonic() + START_SECONDS
        while not self._store.check(keys):
            if self._peers.reported:
                raise dist.DistError("a process failed")
            if time.monotonic() > deadline:
                raise self._diagnosis.missing(_absent(self._store, keys), START_SECONDS)
            time.sleep(0.1)

    def new_group(self, ranks: Sequence[int]) -> dist.ProcessGroup:
        """A group of these processes, for collectives on the CPU. They alone may call it.

        Otherwise torch would make the others split NCCL's communicator, and wait for these, which do not.
        """
        return dist.new_group(ranks, timeout=self._timeout, backend="gloo", use_local_synchronization=True)

    def _meet(self) -> Store:
        """Exchange all processes' addresses. Fails at once when the leader answered and then went away."""
        leader, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        deadline = time.monotonic() + START_SECONDS
        if self.rank and not _answers((leader, port), deadline):
            raise self._diagnosis.missing([0], START_SECONDS)
        host = self._hosts.listening_address()
        store = self._open_store(leader, port, host)
        keys = [f"address/{rank}" for rank in range(self.world_size)]
        try:
            # First of all, so that whoever has an address can be sure that the process there knows the secret.
            self._peers = peers = Peers(self.rank, store.get(SECRET_KEY).decode(), host)
            name = host or self._hosts.of_rank(self.rank, self.world_size)
            store.set(keys[self.rank], f"{name}:{peers.port}")
            store.wait(keys, timedelta(seconds=max(1.0, deadline - time.monotonic())))
            addresses = [store.get(key).decode().rpartition(":") for key in keys]
        except dist.DistNetworkError as error:
            raise self._diagnosis.lost([0], error) from None
        except dist.DistError:
            raise self._diagnosis.missing(_absent(store, keys), START_SECONDS) from None
        peers.set_addresses({rank: (host, int(port)) for rank, (host, _, port) in enumerate(addresses)})
        return store

    def _open_store(self, leader: str, port: int, host: str) -> Store:
        """The store of the job, which rank 0 serves on the address `host`."""
        if self.rank:
            try:
                return TCPStore(leader, port, None, False, timeout=self._timeout, wait_for_workers=False)
            except dist.DistError as error:
                raise self._diagnosis.lost([0], error) from None
        try:
            listener = socket.create_server((host, port))
        except OSError as error:
            raise PlatformError(
                f"port {port}, on which the processes of the job meet, cannot be listened on ({error.strerror}); start "
                "the job again"
            ) from None
        store = TCPStore(
            host or leader,
            port,
            None,
            True,
            timeout=self._timeout,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
        store.set(SECRET_KEY, secrets.token_hex())
        return store

    def _choose_interface(self) -> None:
        """Set the network interface of gloo and NCCL, unless the user has."""
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
        """Print on rank 0 only."""
        if self.is_rank_zero:
            print(text, flush=True)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor, group=self._control if tensor.device.type == "cpu" else None)
        return tensor

    def share_weights(self, module: torch.nn.Module) -> None:
        """Give all ranks the weights of rank 0: on other processors the same seed may give other ones."""
        if self.world_size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def any_rank_each(self, *claims: bool) -> list[bool]:
        """For each claim, whether it holds on at least one rank; the same on all ranks."""
        return [bool(number) for number in self.largest_each(*claims)]

    def largest_each(self, *numbers: int) -> list[int]:
        """For each number, the largest on any rank; the same on all ranks."""
        if self.world_size == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(found, dist.ReduceOp.MAX, self._control)
        return found.tolist()

    def any_rank(self, claim: bool) -> bool:
        """Whether the claim holds on at least one rank; the same on all ranks."""
        return self.any_rank_each(claim)[0]

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all ranks (equal shapes, on the CPU), stacked by rank."""
        gathered = torch.zeros(self.world_size, *tensor.shape, dtype=tensor.dtype)
        gathered[self.rank] = tensor
        return self.all_reduce(gathered)

    def barrier(self) -> None:
        """Wait for every rank."""
        self.any_rank(False)

    def leave(self) -> None:
        """Disconnect from the other processes, after all have come here. Ends the threads of the collectives.

        A thread of gloo that lives on may still hold tensors of Python; one that releases them while the interpreter
        shuts down aborts the process ("terminate called without an active exception").
        """
        if self.world_size > 1:
            self.barrier()
            self._control = None  # gloo's threads end with the last reference to their group
            dist.destroy_process_group()

    def diagnose(self, error: Exception, stop: StopSignal) -> Exception:
        """The error that ends the job, given one on this process: see Diagnosis.explain."""
        return error if self._peers is None else self._diagnosis.explain(error, self._peers, stop)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Run `work` in a thread. Raises its error, or TimeoutError when time is up, and then abandons the thread.

    torch's store waits forever for a leader that stops responding, such as a host that lost power.
    """
    outcome: list[Exception | None] = []

    def run() -> None:
        try:
            work()
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError("Timed out while the hosts joined")
    if outcome[0]:
        raise outcome[0]


def _answers(address: tuple[str, int], deadline: float) -> bool:
    """Wait until a port accepts connections; False if it does not by the deadline.

    TCPStore could wait too, but for up to twice its timeout: an attempt that gives up early is followed by one with the
    full timeout. For a host whose name does not resolve 300 s became 618.
    """
    while (left := deadline - time.monotonic()) > 0:
        try:
            socket.create_connection(address, timeout=left).close()
            return True
        except OSError:  # it has not started yet, its name is not known yet, or it is gone
            time.sleep(0.5)
    return False


def _absent(store: Store, keys: Sequence[str]) -> list[int]:
    """The ranks without a key; the leader if the store does not answer."""
    try:
        return [rank for rank, key in enumerate(keys) if not store.check([key])] or [0]
    except dist.DistError:
        return [0]
