"""The hosts of a job, the ranks of their processes and the network interface between them.

One process per GPU, or one per host without GPUs. Needs no torch: the hook uses it before any training process starts.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from text_classifier.contract.errors import PlatformError, SettingsError, listed
from text_classifier.contract.sagemaker import gpu_count
from text_classifier.runtime.cpus import thread_variables

MASTER_PORT = 29400

LOOPBACK, LOOPBACK_ADDRESS = "lo", "127.0.0.1"

#: Time to wait for a host to start: the hosts of a job do not start at the same time.
START_SECONDS = 300


@dataclass(frozen=True)
class Hosts:
    """All hosts in the order of their ranks, the current one, and the network interface that connects them."""

    names: tuple[str, ...]
    current: str
    interface: str | None

    @classmethod
    def from_resources(cls, resources: Mapping[str, Any]) -> Hosts:
        """The hosts of resourceconfig.json, in numeric order: algo-2 comes before algo-10."""
        current = resources.get("current_host", "algo-1")
        names = tuple(sorted(resources.get("hosts", [current]), key=_by_number))
        return cls(names, current, resources.get("network_interface_name"))

    def environments(self, processes: int) -> list[dict[str, str]]:
        """The environment variables of each process on this host, for torch.distributed and the libraries.

        The user's own numbers of threads win; ranks and addresses are the job's.
        """
        first = self.names.index(self.current) * processes
        free = thread_variables(processes)
        shared = {name: os.environ.get(name, value) for name, value in free.items()} | {
            "MASTER_ADDR": self.names[0] if len(self.names) > 1 else LOOPBACK_ADDRESS,
            "MASTER_PORT": str(MASTER_PORT),
            "WORLD_SIZE": str(len(self.names) * processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }
        return [shared | {"RANK": str(first + local), "LOCAL_RANK": str(local)} for local in range(processes)]

    def of_rank(self, rank: int, world_size: int) -> str:
        """The name of the host that a rank runs on."""
        return self.names[rank * len(self.names) // world_size]

    def wait_for_names(self, is_stopping: Callable[[], bool]) -> None:
        """Wait until all hosts' names resolve; returns early when the job is being stopped.

        Raises PlatformError after START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        for name in self.names:
            while not is_stopping() and not _resolves(name):
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"host {name} did not join within {START_SECONDS} s; look at its log for the cause, then "
                        "start the job again"
                    )
                time.sleep(0.5)

    def reachable_interface(self, leader: str) -> tuple[str | None, str | None]:
        """The interface that connects the hosts, and a warning when it is not the one in resourceconfig.json.

        Loopback when there is one host. None as the interface leaves the choice to the library. The leader's name must
        resolve.
        """
        if len(self.names) == 1:
            return LOOPBACK, None
        existing = {name for _, name in socket.if_nameindex()}
        if self.interface in existing:
            return self.interface, None
        interface = interface_to(leader)
        if not self.interface:
            return interface, None
        return interface, (
            f"WARNING: the network interface {self.interface!r} of resourceconfig.json does not exist on this host, "
            f"which has {', '.join(sorted(existing))}; using {interface!r}, the route to {leader}"
        )

    def listening_address(self) -> str:
        """The IPv4 address on which this host listens for the other hosts' processes: that of the interface they share.

        Loopback when there is one host. Empty, for all interfaces, when the interface has no address, or the host's own
        name is one of another interface: the other hosts may come in there.
        """
        if len(self.names) == 1:
            return LOOPBACK_ADDRESS
        try:
            addresses = _addresses_of(self.reachable_interface(self.names[0])[0])
            own = {str(found[4][0]) for found in socket.getaddrinfo(self.current, None, socket.AF_INET)}
        except OSError:  # a name does not resolve yet
            return ""
        if any(not address.startswith("127.") for address in own):
            addresses = [address for address in addresses if address in own]
        return addresses[0] if addresses else ""


def require_equal_gpus(resources: Mapping[str, Any]) -> None:
    """Raise SettingsError when the hosts' numbers of GPUs differ: each rank is computed from this host's number."""
    types = {group["instance_group_name"]: group.get("instance_type") for group in resources.get("instance_groups", [])}
    counts = {name: gpu_count(str(kind)) for name, kind in types.items()}
    if len(set(types.values())) > 1 and (len(set(counts.values())) > 1 or None in counts.values()):
        groups = [f"{name}: {types[name]} with {'?' if count is None else count}" for name, count in counts.items()]
        raise SettingsError(
            f"the instance groups have different numbers of GPUs ({listed(groups)}); use instance types with the same "
            "number, or one instance type"
        )


def interface_to(host: str) -> str | None:
    """The network interface that packets to `host` leave through."""
    import psutil  # rarely needed, and every start would pay for it

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: it only makes the kernel choose a route
        local = probe.getsockname()[0]
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if local in [item.address for item in addresses]), None)


def _addresses_of(interface: str | None) -> list[str]:
    """The IPv4 addresses of an interface."""
    import psutil

    found = psutil.net_if_addrs().get(interface or "", [])
    return [item.address for item in found if item.family == socket.AF_INET]


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _by_number(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))
