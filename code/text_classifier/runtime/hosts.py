"""The hosts of a job and the processes on them: who is rank 0, how many there are, how they find each other.

One process a GPU, or one a host where there is no GPU. Pure standard library: the hook uses it before torch is loaded.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MASTER_PORT = 29400

_SIOCGIFADDR = 0x8915  # linux/sockios.h: the address of an interface


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
        """The variables of each process on this host, as torch.distributed and the libraries name them."""
        first = self.names.index(self.current) * processes
        shared = {
            "MASTER_ADDR": self.names[0] if len(self.names) > 1 else "127.0.0.1",
            "MASTER_PORT": str(MASTER_PORT),
            "WORLD_SIZE": str(len(self.names) * processes),
            "TOKENIZERS_PARALLELISM": "true",
        }
        if processes > 1:  # one process alone does best with what torch itself chooses: all physical cores
            cores = physical_cores(Path("/proc/cpuinfo").read_text(), os.sched_getaffinity(0))
            shared["OMP_NUM_THREADS"] = str(max(1, cores // processes))
        return [shared | {"RANK": str(first + local), "LOCAL_RANK": str(local)} for local in range(processes)]

    def of_rank(self, rank: int, world_size: int) -> str:
        """The name of the host that a process is on."""
        return self.names[rank * len(self.names) // world_size]

    def reachable_interface(self, leader: str) -> tuple[str | None, str | None]:
        """The interface that joins the hosts, and a warning when it is not the one that the job's configuration names.

        None as interface: the library's own choice. The leader's name must resolve.
        """
        known = {name for _, name in socket.if_nameindex()}
        if self.interface in known:
            return self.interface, None
        found = interface_to(leader)
        if not self.interface:
            return found, None
        return found, (
            f"WARNING: the network interface {self.interface!r} of resourceconfig.json does not exist here, "
            f"only {', '.join(sorted(known))}; taking {found!r}, which leads to {leader}"
        )


def interface_to(host: str) -> str | None:
    """The network interface over which packets to `host` leave."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: it only makes the kernel choose a route
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(answer[20:24]) == own:
                return name
    return None


def physical_cores(cpuinfo: str, usable: Collection[int]) -> int:
    """Cores among the usable logical CPUs. `cpuinfo` is the text of /proc/cpuinfo."""
    cores = set()
    for block in cpuinfo.split("\n\n"):
        values = dict(re.findall(r"^([^\t:]+?)\s*: *(.*)$", block, re.MULTILINE))
        if values.get("processor", "").isdigit() and int(values["processor"]) in usable:
            cores.add((values.get("physical id"), values.get("core id", f"cpu {values['processor']}")))
    return len(cores) or len(usable)


def _by_number(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))
