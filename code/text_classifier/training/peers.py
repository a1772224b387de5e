"""What the processes of a job tell each other when training has broken down, when collectives no longer work.

Each process answers on a port of its own, from a thread, so that a process that waits in vain for another can find out
which one is gone; and one that fails tells the others why before it ends.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

#: A process that lives answers within a millisecond or so; one that was paused, or whose host is gone, never.
ANSWER_SECONDS = 5.0

Address = tuple[str, int]


class Peers:
    """The other processes of the job. `heard` holds what they said when they failed, by rank."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.heard: dict[int, str] = {}
        self._addresses: dict[int, Address] = {}
        heard = self.heard

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                message = json.loads(self.rfile.readline() or "{}")
                if message.get("reason"):
                    heard.setdefault(int(message["rank"]), str(message["reason"]))
                self.wfile.write(b"here\n")

        self._server = _Server(("", 0), Answer)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where this process answers."""
        return int(self._server.server_address[1])

    def know(self, addresses: Mapping[int, Address]) -> None:
        """Take in where each process answers, by rank."""
        self._addresses = {rank: address for rank, address in addresses.items() if rank != self.rank}

    def silent(self) -> list[int]:
        """Ask all others, at the same time, and return the ranks of those that do not answer: they are told nothing."""
        silent = self._send({})
        for rank in silent:
            del self._addresses[rank]
        return silent

    def tell(self, reason: str) -> None:
        """Let the others know why this process fails."""
        self._send({"rank": self.rank, "reason": reason})

    def _send(self, message: Mapping[str, object]) -> list[int]:
        line = json.dumps(message).encode() + b"\n"
        with ThreadPoolExecutor(max_workers=64) as pool:
            answers = pool.map(lambda address: _answers(address, line), self._addresses.values())
            return [rank for rank, answered in zip(self._addresses, answers, strict=True) if not answered]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Whatever else knocks at the port is none of our business."""


def _answers(address: Address, line: bytes) -> bool:
    try:
        with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(line)
            return connection.recv(16).startswith(b"here")
    except OSError:
        return False
