"""Channels that SageMaker shares out among the hosts by S3 key: every host gets the files of all others.

From there on all is as with channels of which every host has all files: the same rows in the same order, shared out
without overlap in steps that all processes take together, however uneven the shards were. Texts are small beside the
time of GPUs. Pure standard library: the hook uses it before any training process is started.
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
from text_classifier.runtime.hosts import MASTER_PORT

PORT = MASTER_PORT + 1

#: Hosts of a job do not start at the same time.
START_SECONDS = 300

#: A host that sends nothing for so long is gone.
SILENCE_SECONDS = 60

#: Channel and path within it, to bytes.
Index = dict[tuple[str, str], int]

Address = tuple[str, int]


def serve(folder: Path, channels: Sequence[str], port: int = PORT) -> ThreadingHTTPServer:
    """Give the other hosts the files of these channels below `folder`, from a thread, as long as this process lives."""
    own = json.dumps([[*key, size] for key, size in _index(folder, channels).items()]).encode()

    class Files(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path != "/":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(own)))
            self.end_headers()
            self.wfile.write(own)

        def log_message(self, format: str, *arguments: object) -> None:
            """A line for each file would bury the log."""

    server = ThreadingHTTPServer(("", port), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def gather(
    folder: Path, channels: Sequence[str], others: Mapping[str, Address], is_stopping: Callable[[], bool]
) -> Path:
    """A new folder with the channels whole: the own files, below `folder`, and those of the `others`, by host.

    A file that several hosts have is taken once. Returns early, with what there is, when the job is being stopped.
    Raises PlatformError when a host does not answer, the hosts have different files of one name, or the disk is full.
    """
    try:
        whole = Path(tempfile.mkdtemp(prefix="channels-"))
        whole.chmod(0o755)  # training may run as another user
        taken = _index(folder, channels)
        for channel in channels:
            (whole / channel).mkdir()
            if (folder / channel).is_dir():
                shutil.copytree(folder / channel, whole / channel, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for host, address in others.items():
            for key, size in _fetch(host, address, whole, taken, is_stopping).items():
                taken[key] = size
    except OSError as error:
        raise PlatformError(
            f"the files of all hosts cannot be written to {tempfile.gettempdir()} ({error.strerror}); give the job a "
            "larger volume, or set TMPDIR to a folder with room for them"
        ) from None
    return whole


def _index(folder: Path, channels: Sequence[str]) -> Index:
    return {
        (channel, path.relative_to(folder / channel).as_posix()): path.stat().st_size
        for channel in channels
        for path in sorted((folder / channel).rglob("*"))
        if path.is_file()
    }


def _fetch(host: str, address: Address, whole: Path, taken: Index, is_stopping: Callable[[], bool]) -> Index:
    """Fetch what a host has and this one has not yet."""
    connection = HTTPConnection(*address, timeout=SILENCE_SECONDS)
    try:
        index = _ask(connection, is_stopping)
        for (channel, name), size in index.items():
            if is_stopping():
                break
            if taken.get((channel, name), size) != size:
                raise PlatformError(
                    f"host {host} has another {channel}/{printable(name)} than the hosts before it; give the files of "
                    "a channel different names"
                )
            if (channel, name) not in taken:
                _copy(connection, channel, name, whole, size)
    except (HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        raise PlatformError(
            f"host {host} did not hand over its files ({type(error).__name__}: {error}); look at its log for the "
            "cause, then start the job again"
        ) from None
    finally:
        connection.close()
    return index


def _ask(connection: HTTPConnection, is_stopping: Callable[[], bool]) -> Index:
    """What a host has, as soon as it answers."""
    deadline = time.monotonic() + START_SECONDS
    while not is_stopping():
        try:
            connection.request("GET", "/")
            return {(channel, name): size for channel, name, size in json.load(connection.getresponse())}
        except OSError as error:  # it has not started yet, or its name is not known yet
            connection.close()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer for {START_SECONDS} s, {error}") from None
            time.sleep(0.5)
    return {}


def _copy(connection: HTTPConnection, channel: str, name: str, whole: Path, size: int) -> None:
    path = whole / channel / name
    assert path.resolve().is_relative_to(whole.resolve()), name
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.request("GET", quote(f"/{channel}/{name}", errors="surrogateescape"))
    with connection.getresponse() as response, path.open("wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)
    if response.status != 200 or path.stat().st_size != size:
        raise ConnectionError(f"{channel}/{printable(name)} came with status {response.status}, not whole")
