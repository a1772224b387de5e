"""Runs the image's `serve` on this machine until it is stopped."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

from launcher.errors import JobFailed
from launcher.local import engine
from launcher.local.image_commands import NO_COMMAND, NOT_STARTED, no_command
from launcher.signals import Interrupted, StopSignals
from text_classifier.contract import sagemaker
from text_classifier.contract.errors import UserError

#: The port in the container.
_PORT = 8080
#: Seconds after Ctrl-C until the container is removed by force.
_STOP_SECONDS = 10


def serve(image: str, model: Path, port: int) -> None:
    """Serve an unpacked model on this machine's loopback until Ctrl-C or another stop signal.

    Raises UserError if the container cannot be started, and JobFailed if the server ends by itself.
    """
    engine.require_engine()
    engine.require_image(image)
    name = f"serve-{uuid.uuid4().hex}"
    words = ["docker", "run", "--rm", "--name", name, f"--publish=127.0.0.1:{port}:{_PORT}"]
    words += ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", f"--user={os.getuid()}:{os.getgid()}"]
    words += [engine.bind_mount(model, f"{sagemaker.BASE}/model"), image, "serve"]
    print(
        "Ctrl-C stops the server. When it is ready, try\n"
        f"  curl localhost:{port}/invocations -H 'Content-Type: application/json' "
        """-d '{"inputs": "Broke after a week."}'""",
        flush=True,
    )
    with StopSignals() as signals:
        try:
            with signals.held():
                # In a session of its own, so that Ctrl-C at the terminal reaches this process alone.
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
            code = process.wait()
        except Interrupted:
            signals.ignore()
            _stop(process, name)
            print("Stopped", flush=True)
            return
    if code == NOT_STARTED:
        raise UserError(f"docker could not start the server, see above; if port {port} is in use, give another --port")
    if code == NO_COMMAND:
        raise UserError(no_command(image, "serve"))
    raise JobFailed(f"the server ended with exit code {code}; see the messages above")


def _stop(process: subprocess.Popen[bytes], name: str) -> None:
    """Interrupt the server, also one whose container is only being created, and wait until it is gone."""
    for _ in range(_STOP_SECONDS):
        engine.interrupt_container(name)
        try:
            process.wait(timeout=1)
            return
        except subprocess.TimeoutExpired:
            continue
    engine.remove_container(name)
    process.wait()
