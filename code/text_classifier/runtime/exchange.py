"""What the hosts of a job tell each other while they prepare the data: a stream of messages from each host to all.

The streams are files, one for each host. prepare.py, which has no torch, appends to the one of its host and reads all.
A training process carries the bytes through the process group of the job (training/carrier.py).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import IO, Any

from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import NOTHING_TO_SAVE, Stopped

#: Seconds between two looks for more of a stream.
LOOK_SECONDS = 0.02

_LENGTH_BYTES = 8

_STREAMS, _STOPPED = "streams", "stopped"


class Streams:
    """The files of the streams in `folder`, by the index of their host, and whether the job is being stopped."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder / _STREAMS
        self.folder.mkdir(exist_ok=True)
        self.paths = [self.folder / str(index) for index in range(count)]
        for path in self.paths:
            path.touch()

    def stop(self) -> None:
        """End the waiting for more of a stream."""
        (self.folder / _STOPPED).touch()

    @property
    def is_stopped(self) -> bool:
        """Whether no more of the streams will come."""
        return (self.folder / _STOPPED).exists()


class Exchange:
    """The messages of all hosts. All hosts must ask for the same ones in the same order.

    `hosts`: their names, by index; `own`: the index of this one. Raises Stopped when the job is stopped, and OSError
    when the disk is full.
    """

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.folder = folder
        self.hosts = hosts.names
        self.own = hosts.names.index(hosts.current)
        self._streams = Streams(folder, len(self.hosts))
        paths = self._streams.paths
        self._out = paths[self.own].open("ab", buffering=0)
        self._in = [path.open("rb", buffering=0) for path in paths]

    def send(self, message: bytes) -> None:
        """Send a message to all hosts, this one included."""
        write_all(self._out, memoryview(len(message).to_bytes(_LENGTH_BYTES, "little") + message))

    def receive(self, host: int) -> bytes:
        """The next message of a host, as soon as it is here."""
        length = int.from_bytes(self._read(host, _LENGTH_BYTES), "little")
        return self._read(host, length)

    def _read(self, host: int, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            more = self._in[host].read(size - len(content))
            content += more
            if not more:
                if self._streams.is_stopped:
                    raise Stopped(NOTHING_TO_SAVE)
                time.sleep(LOOK_SECONDS)
        return bytes(content)

    def share(self, value: Any) -> list[Any]:
        """The values (JSON) that the hosts share in this call, by host."""
        self.send(json.dumps(value).encode())
        return [json.loads(self.receive(host)) for host in range(len(self.hosts))]

    def free(self) -> None:
        """Give the disk space back that the messages of the other hosts took, after the last one."""
        for index, path in enumerate(self._streams.paths):
            if index != self.own:  # the carrier may still read that one
                os.truncate(path, 0)


def write_all(file: IO[bytes], content: memoryview) -> None:
    """Write to a file that is not buffered."""
    while content:
        content = content[file.write(content) :]
