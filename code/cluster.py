"""The processes of a job as torch.distributed sees them. One process alone needs none of it and starts none."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from failures import PlatformError

#: Hosts of a job do not start at the same time.
RENDEZVOUS_SECONDS = 300


class Cluster:
    """This process's rank, how many there are, its device, and what they do together."""

    def __init__(self, collective_timeout_seconds: int) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.world_size > 1:
            self._join(timedelta(seconds=collective_timeout_seconds))

    def _join(self, timeout: timedelta) -> None:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        wait = timedelta(seconds=RENDEZVOUS_SECONDS)
        try:
            store = dist.TCPStore(host, port, self.world_size, is_master=self.rank == 0, timeout=wait)
        except dist.DistError as error:
            raise PlatformError(
                f"not all {self.world_size} processes met at {host}:{port} within {RENDEZVOUS_SECONDS} s; look at the "
                f"logs of the other hosts ({str(error).splitlines()[0]})"
            ) from None
        backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world_size, timeout=timeout)

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes the model and the metrics."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """Print on rank 0 alone."""
        if self.is_rank_zero:
            print(text, flush=True)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, claim: bool) -> bool:
        """Whether the claim holds on at least one rank: all ranks get the same answer."""
        return bool(self.sum(torch.tensor(int(claim))).item())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.any(False)

    def leave(self) -> None:
        """Part from the others in order."""
        if self.world_size > 1:
            self.barrier()
            dist.destroy_process_group()
