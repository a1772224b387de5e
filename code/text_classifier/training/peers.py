"""Messages between the processes of a job after training broke down, when collectives no longer work.

Each process answers on its own port, from a thread: a process whose collective hangs can find out which one is gone,
and one that fails tells the others why before it ends.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

#: A living process answers within about a millisecond; one that is paused, or whose host is gone, never does.
ANSWER_SECONDS = 5.0

Address = tuple[str, int]


class Peers:
    """The other processes of the job. `reported`: the reasons of those that failed, by rank."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.reported: dict[int, str] = {}
        self._addresses: dict[int, Address] = {}
        reported = self.reported

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                message = json.loads(self.rfile.readline() or "{}")
                if message.get("reason"):
                    reported.setdefault(int(message["rank"]), str(message["reason"]))
                self.wfile.write(b"here\n")

        self._server = _Server(("", 0), Answer)
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
        self._send({"rank": self.rank, "reason": reason})

    def _send(self, message: Mapping[str, object]) -> list[int]:
        line = json.dumps(message).encode() + b"\n"
        with ThreadPoolExecutor(max_workers=64) as pool:
            answers = pool.map(lambda address: _answers(address, line), self._addresses.values())
            return [rank for rank, answered in zip(self._addresses, answers, strict=True) if not answered]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore what is not one of our messages."""


def _answers(address: Address, line: bytes) -> bool:
    try:
        with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(line)
            return connection.recv(16).startswith(b"here")
    except OSError:
        return False
