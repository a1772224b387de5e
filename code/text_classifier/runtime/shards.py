"""Channels sharded across hosts by S3 key: every host fetches the files of all others over HTTP.

Training then reads the same rows in the same order as with fully replicated channels, however uneven the shards are.
Without the job's key there is no answer. Standard library only: the hook uses it before any training process starts.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import quote

from text_classifier.contract.errors import PlatformError, printable
from text_classifier.runtime.configuration import Configuration
from text_classifier.runtime.hosts import MASTER_PORT, START_SECONDS

PORT = MASTER_PORT + 1

#: Socket timeout: a host that sends nothing for this long is considered lost.
SILENCE_SECONDS = 60

KEY_HEADER = "Authorization"

#: (channel, path within it) to size in bytes.
Index = dict[tuple[str, str], int]

Address = tuple[str, int]


def key(configuration: Configuration) -> str:
    """What the hosts of a job know and a stranger in their network does not: a digest of the job's request.

    Hosts share no better secret before their processes have met. Who may read the request in SageMaker has it too.
    """
    name = [os.environ.get(variable) for variable in ("TRAINING_JOB_ARN", "TRAINING_JOB_NAME")]
    request = [name, configuration.all_hyperparameters(), sorted(configuration.resources().get("hosts", []))]
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def serve(folder: Path, channels: Sequence[str], key: str, host: str, port: int = PORT) -> ThreadingHTTPServer:
    """Serve the files that these channels have now under `folder`, from a daemon thread, to hosts that have the key.

    Listens on the address `host`, or on all when it is empty.
    """
    found = _index(folder, channels)
    index = json.dumps([[*place, size] for place, size in found.items()]).encode()
    files = {_url(*place): folder.joinpath(*place) for place in found}

    class Files(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SILENCE_SECONDS

        def do_GET(self) -> None:
            if not hmac.compare_digest(self.headers.get(KEY_HEADER, "").encode(), key.encode()):
                self.close_connection = True
            elif self.path == "/":
                self._answer(len(index), io.BytesIO(index))
            elif self.path in files:
                with files[self.path].open("rb") as file:
                    self._answer(os.fstat(file.fileno()).st_size, file)
            else:
                self.close_connection = True

        def _answer(self, size: int, content: IO[bytes]) -> None:
            self.send_response_only(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            shutil.copyfileobj(content, self.wfile, 1 << 20)

        def send_error(self, *arguments: object) -> None:
            """Hang up, also on what is not HTTP."""
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing: one line per file would flood the log."""

    server = _Server((host, port), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that break; who needs the files will ask again or fail, and say so."""


def gather(
    folder: Path, channels: Sequence[str], key: str, peers: Mapping[str, Address], is_stopping: Callable[[], bool]
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
            copied |= _fetch(host, address, key, target, copied, is_stopping)
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


def _url(channel: str, name: str) -> str:
    return quote(f"/{channel}/{name}", errors="surrogateescape")


def _fetch(
    host: str, address: Address, key: str, target: Path, copied: Index, is_stopping: Callable[[], bool]
) -> Index:
    """Copy the files of a host that are not there yet. Returns the host's index."""
    connection = HTTPConnection(*address, timeout=SILENCE_SECONDS)
    try:
        index = _ask(connection, key, is_stopping)
        for (channel, name), size in index.items():
            if is_stopping():
                break
            if copied.get((channel, name), size) != size:
                raise PlatformError(
                    f"host {host} has a different {channel}/{printable(name)} than another host; give the files of a "
                    "channel different names"
                )
            if (channel, name) not in copied:
                _copy(connection, key, channel, name, target, size)
    except (HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        raise PlatformError(
            f"the files of host {host} could not be fetched ({type(error).__name__}: {error}); look at its log for the "
            "cause, then start the job again"
        ) from None
    finally:
        connection.close()
    return index


def _ask(connection: HTTPConnection, key: str, is_stopping: Callable[[], bool]) -> Index:
    """The index of a host, as soon as it answers. Raises TimeoutError after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not is_stopping():
        try:
            connection.request("GET", "/", headers={KEY_HEADER: key})
            return {(channel, name): size for channel, name, size in json.load(connection.getresponse())}
        except OSError as error:  # it has not started yet, or its name does not resolve yet
            connection.close()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer for {START_SECONDS} s, {error}") from None
            time.sleep(0.5)
    return {}


def _copy(connection: HTTPConnection, key: str, channel: str, name: str, target: Path, size: int) -> None:
    path = target / channel / name
    assert path.resolve().is_relative_to(target.resolve()), name
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.request("GET", _url(channel, name), headers={KEY_HEADER: key})
    with connection.getresponse() as response, path.open("wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)
    if response.status != 200 or path.stat().st_size != size:
        raise ConnectionError(f"{channel}/{printable(name)} is incomplete, with status {response.status}")
