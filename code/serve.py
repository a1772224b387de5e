#!/usr/bin/env -S --block-signal=TERM /opt/venv/bin/python
"""The image's `serve` command: classifies texts over HTTP, with the model that SageMaker unpacks.

It listens before torch is imported, and answers 503 until the model is loaded. The shebang blocks SIGTERM as in
start.py, until there is a handler for it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from text_classifier.contract import redaction
from text_classifier.contract.errors import JobError, PlatformError, SettingsError, describe, printable, scarce
from text_classifier.runtime import gpu
from text_classifier.runtime.cpus import thread_variables
from text_classifier.runtime.folders import job_folders
from text_classifier.serving import workers
from text_classifier.serving.settings import ServeSettings, serve_settings
from text_classifier.serving.workers import Workers

if TYPE_CHECKING:
    from text_classifier.serving.model import ServedModel

HELP = """\
usage: serve

Classifies texts over HTTP, with the model in the model folder, to which SageMaker unpacks model.tar.gz. It takes no
arguments: environment variables (SERVE_TOP_K and others) are its settings.
"""

STARTED = time.monotonic()

#: Connections that wait to be accepted.
BACKLOG = 1_024


def main(arguments: list[str]) -> int:
    """Serve until a signal comes. Returns the exit code.

    A process that serving/workers.py starts gets the descriptors of the listening socket, and, if it is the first one,
    of a pipe to write to once it is ready.
    """
    if set(arguments) & {"-h", "--help"}:
        print(HELP, end="")
        return 0
    try:
        settings = serve_settings(os.environ)
        if descriptors := _descriptors(arguments):
            listener, *pipe = descriptors
            return _serve(settings, socket.socket(fileno=listener), pipe, listens_when_ready=not pipe)
        _require_temporary_folder()
        listening = _listen(settings.port)
        gpus = gpu.prepare()
        count = settings.workers or workers.usual_count(gpus)
        if count > 1 or gpus:
            return Workers(__file__, listening.fileno(), count, gpus).run()
        return _serve(settings, listening)
    except JobError as error:
        print(describe(error), file=sys.stderr, flush=True)
        return 1


def _descriptors(arguments: Sequence[str]) -> list[int]:
    """The descriptors that serving/workers.py gives a process; none for the image's command.

    `serve` alone is what SageMaker appends to an ENTRYPOINT that a derived image may have. Raises SettingsError for any
    other argument, which nobody would read.
    """
    if not arguments or list(arguments) == ["serve"]:
        return []
    try:
        descriptors = [int(word) for word in arguments]
        if stat.S_ISSOCK(os.fstat(descriptors[0]).st_mode) and len(descriptors) <= 2:
            return descriptors
    except (ValueError, OverflowError, OSError):
        pass
    raise SettingsError(
        f"`serve` takes no arguments, and got {printable(arguments[0])!r}; set environment variables instead"
    )


def _require_temporary_folder() -> None:
    """Raise PlatformError if no temporary folder is writable: torch cannot be imported without one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise scarce(error) or error from None


def _listen(port: int) -> socket.socket:
    """A listening socket. Raises PlatformError."""
    # asyncio disables Nagle's algorithm only on sockets whose protocol is named; with it each answer takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("0.0.0.0", port))
        listener.listen(BACKLOG)
    except OSError as error:
        raise PlatformError(
            f"port {port} cannot be listened on ({error.strerror}); set SAGEMAKER_BIND_TO_PORT to a free one"
        ) from None
    return listener


def _serve(
    settings: ServeSettings,
    listener: socket.socket,
    ready_pipe: Sequence[int] = (),
    *,
    listens_when_ready: bool = False,
) -> int:
    """Serve in this process. Returns the exit code. Raises JobError."""
    os.environ |= thread_variables() | os.environ  # read when torch is imported; variables that the user has set win
    from text_classifier.serving.batching import Batcher
    from text_classifier.serving.server import Server
    from text_classifier.serving.traffic import Traffic
    from text_classifier.serving.web import Application, TextModel

    def ready() -> None:
        assert batcher.model is not None
        print(f"ready in {time.monotonic() - STARTED:.1f} s: {batcher.model.description}", flush=True)
        for descriptor in ready_pipe:
            os.write(descriptor, b"1")

    traffic = Traffic()
    batcher: Batcher[TextModel] = Batcher(
        lambda: _load(settings), batch_tokens=settings.batch_tokens, max_wait_seconds=settings.max_wait_seconds,
        done=traffic.batch,
    )  # fmt: skip
    server = Server(Application(settings, batcher, traffic), batcher, traffic, ready)
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    batcher.start()
    if listens_when_ready:
        batcher.wait_until_loaded()
    server.run([listener])
    batcher.close()
    server.log()
    if isinstance(batcher.error, JobError):
        raise batcher.error
    return 1 if batcher.error else 0


def _load(settings: ServeSettings) -> ServedModel:
    """The model. Raises SettingsError.

    Without garbage collection: it would search the objects of the imports, which live as long as the process.
    """
    gc.disable()
    try:
        from text_classifier.serving.model import load

        model = load(job_folders().model)
    finally:
        gc.enable()
    if settings.calibrated and model.outputs.temperature is None:
        raise SettingsError("SERVE_CALIBRATED=true, and the model has no temperature; remove it")
    return model


if __name__ == "__main__":
    redaction.install()
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model is a local folder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each request has a thread
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread may be within torch, which cannot be torn down under it
