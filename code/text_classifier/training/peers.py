"""Messages between the processes of a job after training broke down, when collectives no longer work.

Each process answers on its own port, from a thread: a process whose collective hangs can find out which one is gone,
and one that fails tells the others why before it ends. Only messages with the job's secret are heard and answered.
"""

from __future__ import annotations

import hmac
import json
import socket
import socketserver
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

#: A living process answers within about a millisecond; one that is paused, or whose host is gone, never does.
ANSWER_SECONDS = 5.0

#: Characters of a reason that are sent, and bytes of a message that are read: JSON writes a character with up to 12.
MOST_CHARACTERS = 4_000
MOST_BYTES = 65_536

Address = tuple[str, int]


class Peers:
    """The other processes of the job. `reported`: the reasons of those that failed, by rank.

    Listens on `host`, one of this host's addresses; on all when it is empty. `secret` is the same in all processes.
    """

    def __init__(self, rank: int, secret: str, host: str) -> None:
        self.rank = rank
        self.reported: dict[int, str] = {}
        self._secret = secret
        self._addresses: dict[int, Address] = {}
        reported = self.reported

        class Answer(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                message = json.loads(_line(self.request))
                if not hmac.compare_digest(str(message["secret"]).encode(), secret.encode()):
                    return
                if message.get("reason"):
                    reported.setdefault(int(message["rank"]), str(message["reason"]))
                self.request.sendall(b"here\n")

        self._server = _Server((host, 0), Answer)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """The port on which this process answers."""
        return int(self._server.server_address[1])

    def set_addresses(self, addresses: Mapping[int, Address]) -> None:
        """The address of each process, by rank."""
        self._addresses = {rank: address for rank, address in addresses.items() if rank != self.rank}

    def unreachable(self) -> list[int]:
        """The ranks that do not answer; all are asked at once. Later reports skip them."""
        ranks = self._send({})
        for rank in ranks:
            del self._addresses[rank]
        return ranks

    def report(self, reason: str) -> None:
        """Tell the other processes why this one fails."""
        self._send({"rank": self.rank, "reason": reason[:MOST_CHARACTERS]})

    def _send(self, message: Mapping[str, object]) -> list[int]:
        line = json.dumps({"secret": self._secret, **message}).encode() + b"\n"
        with ThreadPoolExecutor(max_workers=64) as pool:
            answers = pool.map(lambda address: _answers(address, line), self._addresses.values())
            return [rank for rank, answered in zip(self._addresses, answers, strict=True) if not answered]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore what is not one of our messages."""


def _line(connection: socket.socket) -> bytes:
    """The line that is sent within ANSWER_SECONDS, however slowly. Raises ValueError for one that is too long."""
    deadline = time.monotonic() + ANSWER_SECONDS
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > MOST_BYTES:
            raise ValueError("too long")
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv(4096)
        if not received:
            raise ValueError("incomplete")
        line += received
    return line


def _answers(address: Address, line: bytes) -> bool:
    try:
        with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(line)
            return connection.recv(16).startswith(b"here")
    except OSError:
        return False
