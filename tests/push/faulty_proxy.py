"""A proxy in front of a registry that injects faults.

`401`, `429`, `500` and `503` are responses, `reset` closes the connection, `lost` forwards the request and closes the
connection instead of returning the response, `stall` waits `stall_seconds` and then closes it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ERRORS = {"401": "UNAUTHORIZED", "429": "TOOMANYREQUESTS", "500": "UNKNOWN", "503": "UNAVAILABLE"}
_OF_ONE_HOP = {"connection", "transfer-encoding", "content-length", "host"}


class Proxy:
    """`choose` returns the fault of each request (method and path), or None. `lost_headers` are not passed on."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.choose: Callable[[str, str], str | None] = lambda method, path: None
        self.stall_seconds = 1.0
        self.lost_headers: set[str] = set()
        self.requests: list[tuple[str, str, str | None]] = []

    def fail_manifests(self, fault: str, times: int) -> None:
        """Inject this fault into the first `times` pushes of a manifest."""
        faults = [fault] * times
        self.choose = lambda method, path: (
            faults.pop() if faults and method == "PUT" and "/manifests/" in path else None
        )

    def met(self, fault: str) -> int:
        """Number of requests with this fault."""
        return sum(found == fault for _, _, found in self.requests)


@contextlib.contextmanager
def in_front_of(registry: str) -> Iterator[Proxy]:
    """Serve a proxy on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            """docker tries TLS first and falls back to HTTP if the response is HTTP."""
            if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
                self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            else:
                super().handle()

        def pass_on(self) -> None:
            is_chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
            body = self.chunks() if is_chunked else self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                fault = proxy.choose(self.command, self.path)
                proxy.requests.append((self.command, self.path, fault))
            if fault in _ERRORS:
                self.refuse(int(fault), _ERRORS[fault])
            elif fault in ("reset", "stall"):
                time.sleep(proxy.stall_seconds if fault == "stall" else 0)
                self.reset()
            else:
                self.forward(body, is_lost=fault == "lost")

        def forward(self, body: bytes, is_lost: bool) -> None:
            connection = http.client.HTTPConnection(registry, timeout=30)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            # docker sends one header "Accept" for each format, in random order.
            for name, value in self.headers.items():
                if name.lower() not in _OF_ONE_HOP and name.lower() not in proxy.lost_headers:
                    connection.putheader(name, value)
            connection.putheader("Host", proxy.host)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if is_lost:
                self.reset()
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OF_ONE_HOP:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        def chunks(self) -> bytes:
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def refuse(self, status: int, code: str) -> None:
            content = f'{{"errors": [{{"code": "{code}", "message": "{code.lower()}"}}]}}'.encode()
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    lock = threading.Lock()
    proxy = Proxy(f"127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
