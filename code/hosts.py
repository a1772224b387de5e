"""The hosts of a job and the processes on them: who is rank 0, how many there are, how they find each other.

One process a GPU, or one a host where there is no GPU. Pure standard library: the hook uses it before torch is loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MASTER_PORT = 29400


@dataclass(frozen=True)
class Hosts:
    """All hosts in the order of their ranks, the one this is, and the network interface that joins them."""

    names: tuple[str, ...]
    current: str
    interface: str | None

    @classmethod
    def from_resources(cls, resources: Mapping[str, Any]) -> Hosts:
        """Read resourceconfig.json. Hosts order by number: algo-2 comes before algo-10."""
        current = resources.get("current_host", "algo-1")
        names = tuple(sorted(resources.get("hosts", [current]), key=_by_number))
        return cls(names, current, resources.get("network_interface_name"))

    def environments(self, processes: int) -> list[dict[str, str]]:
        """The variables of each process on this host, as torch.distributed names them."""
        first = self.names.index(self.current) * processes
        shared = {
            "MASTER_ADDR": self.names[0] if len(self.names) > 1 else "127.0.0.1",
            "MASTER_PORT": str(MASTER_PORT),
            "WORLD_SIZE": str(len(self.names) * processes),
        }
        if processes > 1:  # one process alone does best with what torch itself chooses: all physical cores
            shared["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
        if len(self.names) > 1 and self.interface and Path("/sys/class/net", self.interface).exists():
            shared |= {"GLOO_SOCKET_IFNAME": self.interface, "NCCL_SOCKET_IFNAME": self.interface}
        return [shared | {"RANK": str(first + local), "LOCAL_RANK": str(local)} for local in range(processes)]


def _by_number(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))
