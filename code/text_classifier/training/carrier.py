"""Carries what the preparation of each host tells the others (runtime/exchange.py) through the job's process group."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
import torch.distributed as dist

from text_classifier.reading.spool import not_written
from text_classifier.runtime.exchange import LOOK_SECONDS, Streams, write_all
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import NOTHING_TO_SAVE, Stopped, StopSignal
from text_classifier.training.cluster import Cluster

#: Bytes of a host's stream that are carried at a time.
CHUNK = 16 << 20


def carry(folder: Path, cluster: Cluster, hosts: Hosts, stop: StopSignal, is_over: Callable[[], bool]) -> None:
    """Carry the streams in `folder`, on the first process of each host, until `is_over` holds on all hosts.

    Any process may call it, after `join`. Raises Stopped on all hosts when one is stopped, PlatformError when the disk
    is full, and what `is_over` raises.
    """
    ranks = [cluster.world_size // len(hosts.names) * index for index in range(len(hosts.names))]
    if cluster.rank not in ranks:
        return
    stop.listen()
    streams = Streams(folder, len(ranks))
    try:
        line = _Line(cluster.new_group(ranks), ranks, ranks.index(cluster.rank))
        carried = _carry(streams, line, stop, is_over)
    except Stopped:
        streams.stop()
        raise
    stop.let_end()
    own, others = carried[line.own] / 1e6, (sum(carried) - carried[line.own]) / 1e6
    print(f"exchanged the rows of sharded channels: sent {own:,.1f} MB, received {others:,.1f} MB", flush=True)


class _Line:
    """The connection of the hosts. `own`: the index of this one."""

    def __init__(self, group: dist.ProcessGroup, ranks: Sequence[int], own: int) -> None:
        self.own = own
        self._group = group
        self._ranks = ranks
        self._buffer = torch.empty(CHUNK, dtype=torch.uint8)

    def gather(self, *numbers: int) -> list[list[int]]:
        """The numbers of each host."""
        gathered = torch.zeros(len(self._ranks), len(numbers), dtype=torch.int64)
        dist.all_gather(list(gathered), torch.tensor(numbers, dtype=torch.int64), group=self._group)
        return gathered.tolist()

    def broadcast(self, host: int, content: bytes, size: int) -> memoryview:
        """The content, of `size` bytes, of a host; valid until the next call."""
        part = self._buffer[:size]
        if host == self.own:
            part.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(part, self._ranks[host], group=self._group)
        return part.numpy().data


def _carry(streams: Streams, line: _Line, stop: StopSignal, is_over: Callable[[], bool]) -> list[int]:
    """Carry the streams. Returns the bytes of each host's."""
    carried = [0] * len(streams.paths)
    with ExitStack() as opened:
        files = [
            opened.enter_context(path.open("rb" if host == line.own else "ab", buffering=0))
            for host, path in enumerate(streams.paths)
        ]
        is_done = False
        while True:
            content = files[line.own].read(CHUNK)
            is_done = is_done or is_over()
            states = line.gather(len(content), is_done, stop.requested)
            if any(stops for _, _, stops in states):
                raise Stopped(NOTHING_TO_SAVE)
            sizes = [size for size, _, _ in states]
            for host, size in enumerate(sizes):
                carried[host] += size
                if size:
                    part = line.broadcast(host, content, size)
                    if host != line.own:
                        try:
                            write_all(files[host], part)
                        except OSError as error:
                            raise not_written(error, streams.folder) from None
            if not any(sizes):
                if all(done for _, done, _ in states):
                    return carried
                time.sleep(LOOK_SECONDS)
