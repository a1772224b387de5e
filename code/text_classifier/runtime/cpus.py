"""The CPUs that a process may use: physical cores, limited by affinity and by the container's quota. Needs no torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from text_classifier.contract.errors import PlatformError
from text_classifier.contract.limits import process_limit


def thread_variables(processes: int = 1) -> dict[str, str]:
    """The environment variables of OpenMP and of the tokenizers library for each of several processes on this host.

    A single process without a quota has torch's own default, all physical cores. Tokenizers use all logical CPUs.
    """
    cores = physical_cores(Path("/proc/cpuinfo").read_text(), os.sched_getaffinity(0))
    usable = min(cores, usable_cpus())
    variables = {"RAYON_NUM_THREADS": str(max(1, usable_cpus() // processes))}
    if processes > 1 or usable < cores:
        variables["OMP_NUM_THREADS"] = str(max(1, usable // processes))
    # A thread that waits for another spins only for microseconds before it sleeps. Training MiniLM on two cores, in
    # rows/s on a quiet machine and beside two busy processes: libgomp's default (milliseconds) 94 and 19, this 91 and
    # 43, OMP_WAIT_POLICY=PASSIVE (no spinning) 87 and 42. libgomp would prefer this to the user's OMP_WAIT_POLICY.
    if "OMP_WAIT_POLICY" not in os.environ:
        variables["GOMP_SPINCOUNT"] = "1000"
    return variables


def tokenizing_variables() -> dict[str, str]:
    """The environment variables of the one process of a host that tokenizes: it has all CPUs. The user's own win.

    Reading forks, after which the library would use one thread if TOKENIZERS_PARALLELISM were not set.
    """
    variables = {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(usable_cpus())}
    return {name: os.environ.get(name, value) for name, value in variables.items()}


def usable_cpus() -> int:
    """Threads that can run at once: logical CPUs, limited by affinity and by the container's quota.

    More threads would spend the quota of each period early, and then all stand still.
    """
    cpus = len(os.sched_getaffinity(0))
    return min(cpus, math.ceil(cpu_quota() or cpus))


def require_threads() -> None:
    """Raise PlatformError where the container may have too few threads: some libraries hang when they get none.

    Each of OpenMP, two copies of OpenBLAS and the tokenizers has a thread for each CPU; the rest is Python's.
    """
    most, least = process_limit(), 8 + 4 * usable_cpus()
    if most is not None and most < least:
        raise PlatformError(
            f"the container may have no more than {most:,} processes and threads, and training needs {least} (8, and 4 "
            "for each CPU); raise the limit (docker run --pids-limit)"
        )


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The CPUs' worth of time that the cgroups of this process may use, as by docker's --cpus; None without a limit."""
    quotas = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        # In a container the mount may be its own cgroup, and the path that of the host.
        for folder in (PurePosixPath(group), *PurePosixPath(group).parents):
            own = mount / folder.relative_to("/")
            words = [word for name in _FILES for line in _lines(own / name) for word in line.split()]
            if len(words) == 2 and words[0] not in ("max", "-1"):
                quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


#: Quota and period in microseconds: one file in version 2 of cgroups, two in version 1.
_FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file; none if it cannot be read."""
    try:
        yield from path.read_text().splitlines()
    except OSError:
        return


def physical_cores(cpuinfo: str, usable: Collection[int]) -> int:
    """The number of physical cores of the usable logical CPUs. `cpuinfo` is the text of /proc/cpuinfo.

    psutil.cpu_count counts the cores of the whole machine, also where the process may use only some of them.
    """
    cores = set()
    for block in cpuinfo.split("\n\n"):
        values = dict(re.findall(r"^([^\t:]+?)\s*: *(.*)$", block, re.MULTILINE))
        if values.get("processor", "").isdigit() and int(values["processor"]) in usable:
            cores.add((values.get("physical id"), values.get("core id", f"cpu {values['processor']}")))
    return len(cores) or len(usable)
