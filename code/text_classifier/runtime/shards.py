"""Channels sharded across hosts by S3 key: every host fetches the files of all others over HTTP.

Training then reads the same rows in the same order as with fully replicated channels, however uneven the shards are.
Standard library only: the hook uses it before any training process starts.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from text_classifier.contract.errors import PlatformError, printable
from text_classifier.runtime.hosts import MASTER_PORT, START_SECONDS

PORT = MASTER_PORT + 1

#: Socket timeout: a host that sends nothing for this long is considered lost.
SILENCE_SECONDS = 60

#: (channel, path within it) to size in bytes.
Index = dict[tuple[str, str], int]

Address = tuple[str, int]


def serve(folder: Path, channels: Sequence[str], port: int = PORT) -> ThreadingHTTPServer:
    """Serve the files of these channels under `folder` from a daemon thread."""
    index = json.dumps([[*key, size] for key, size in _index(folder, channels).items()]).encode()

    class Files(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path != "/":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(index)))
            self.end_headers()
            self.wfile.write(index)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing: one line per file would flood the log."""

    server = ThreadingHTTPServer(("", port), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def gather(
    folder: Path, channels: Sequence[str], peers: Mapping[str, Address], is_stopping: Callable[[], bool]
) -> Path:
    """A new folder with the complete channels: this host's files, from `folder`, and those of the other hosts.

    A file that several hosts have is copied once. Returns early when the job is being stopped. Raises PlatformError
    when a host does not answer, the hosts have different files of the same name, or the disk is full.
    """
    try:
        target = Path(tempfile.mkdtemp(prefix="channels-"))
        target.chmod(0o755)  # training may run as another user
        copied = _index(folder, channels)
        for channel in channels:
            (target / channel).mkdir()
            if (folder / channel).is_dir():
                shutil.copytree(folder / channel, target / channel, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for host, address in peers.items():
            copied |= _fetch(host, address, target, copied, is_stopping)
    except OSError as error:
        raise PlatformError(
            f"the files of a sharded channel cannot be written to {tempfile.gettempdir()} ({error.strerror}); give the "
            "job a larger volume, or set TMPDIR to a folder with more space"
        ) from None
    return target


def _index(folder: Path, channels: Sequence[str]) -> Index:
    return {
        (channel, path.relative_to(folder / channel).as_posix()): path.stat().st_size
        for channel in channels
        for path in sorted((folder / channel).rglob("*"))
        if path.is_file()
    }


def _fetch(host: str, address: Address, target: Path, copied: Index, is_stopping: Callable[[], bool]) -> Index:
    """Copy the files of a host that are not there yet. Returns the host's index."""
    connection = HTTPConnection(*address, timeout=SILENCE_SECONDS)
    try:
        index = _ask(connection, is_stopping)
        for (channel, name), size in index.items():
            if is_stopping():
                break
            if copied.get((channel, name), size) != size:
                raise PlatformError(
                    f"host {host} has a different {channel}/{printable(name)} than another host; give the files of a "
                    "channel different names"
                )
            if (channel, name) not in copied:
                _copy(connection, channel, name, target, size)
    except (HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        raise PlatformError(
            f"the files of host {host} could not be fetched ({type(error).__name__}: {error}); look at its log for the "
            "cause, then start the job again"
        ) from None
    finally:
        connection.close()
    return index


def _ask(connection: HTTPConnection, is_stopping: Callable[[], bool]) -> Index:
    """The index of a host, as soon as it answers. Raises TimeoutError after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not is_stopping():
        try:
            connection.request("GET", "/")
            return {(channel, name): size for channel, name, size in json.load(connection.getresponse())}
        except OSError as error:  # it has not started yet, or its name does not resolve yet
            connection.close()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer for {START_SECONDS} s, {error}") from None
            time.sleep(0.5)
    return {}


def _copy(connection: HTTPConnection, channel: str, name: str, target: Path, size: int) -> None:
    path = target / channel / name
    assert path.resolve().is_relative_to(target.resolve()), name
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.request("GET", quote(f"/{channel}/{name}", errors="surrogateescape"))
    with connection.getresponse() as response, path.open("wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)
    if response.status != 200 or path.stat().st_size != size:
        raise ConnectionError(f"{channel}/{printable(name)} is incomplete, with status {response.status}")
