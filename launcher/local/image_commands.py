"""Runs the image's commands `check` and `predict` in containers on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from launcher.errors import JobFailed, Refused
from launcher.local import engine, studio
from text_classifier.contract import sagemaker
from text_classifier.contract.errors import UserError

#: docker's exit code when the image has no such command.
NO_COMMAND = 127
#: docker's message when Podman serves its API and could not start the container.
_NOT_ATTACHED = "unable to upgrade to tcp"
#: docker's exit code when it could not start the container; its message is on stderr.
NOT_STARTED = 125


def check(
    image: str, channels: Mapping[str, Path], hyperparameters: Mapping[str, str], output: Path | None = None
) -> None:
    """Validate the channels like a training job and print a summary; data_report.json goes to the folder `output`.

    Raises Refused with the message of the check.
    """
    mounts = [
        engine.bind_mount(path, f"{sagemaker.BASE}/input/data/{name}{'' if path.is_dir() else f'/{path.name}'}")
        for name, path in channels.items()
        if name != "model"
    ]
    if output:
        mounts.append(engine.bind_mount(output, f"{sagemaker.BASE}/output/data", is_writable=True))
    words = [f"--{name}={value}" for name, value in hyperparameters.items()]  # a value may begin with a hyphen
    done = _run(image, mounts, ["check", *words], stderr=subprocess.PIPE)
    if done.returncode != 0:
        *before, sentence = done.stderr.strip().splitlines() or ["the data check failed without a message"]
        print("\n".join(before), end="\n" if before else "", file=sys.stderr)
        raise Refused(sentence)


def check_if_possible(
    images: Sequence[str],
    channels: Callable[[], AbstractContextManager[Mapping[str, Path]]],
    hyperparameters: Mapping[str, str],
) -> None:
    """Like `check`, in the first of the images on this machine; a warning if there is none, or no Docker engine.

    `channels` is called once there is an image.
    """
    try:
        engine.require_engine()
        image = next(filter(engine.has_image, images), None)
        if image is None:
            raise UserError(f"neither {' nor '.join(images)} is on this machine")
        print(f"Checking the data in {image}", flush=True)
        with channels() as paths:
            check(image, paths, hyperparameters)
    except UserError as reason:
        print(f"WARNING: the job starts without a check of the data: {reason}", file=sys.stderr)


def predict(
    image: str, model: Path, data: Path, output: Path, is_calibrated: bool, *, uses_fitted_thresholds: bool = False
) -> None:
    """Classify the rows of `data` with an unpacked model and write a CSV file. Raises UserError or JobFailed."""
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UserError(
            f"--output {output} is in a folder that does not exist; create the folder, or give another --output"
        )
    if output.is_dir():
        raise UserError(f"--output {output} is a folder; give a file")
    mounts = [
        engine.bind_mount(model, "/model"),
        engine.bind_mount(data, f"/data/{data.name}"),
        engine.bind_mount(folder, "/output", is_writable=True),
    ]
    words = ["--model", "/model", "--data", f"/data/{data.name}", "--output", f"/output/{output.name}"]
    words += ["--calibrated"] * is_calibrated + ["--fitted-thresholds"] * uses_fitted_thresholds
    owner = ["--user", f"{os.getuid()}:{os.getgid()}", "--env", "HOME=/tmp"]
    if _run(image, mounts, ["predict", *words], owner).returncode != 0:
        raise JobFailed("prediction failed; see the messages above")


def _run(
    image: str, mounts: Sequence[str], command: Sequence[str], options: Sequence[str] = (), stderr: int | None = None
) -> subprocess.CompletedProcess[str]:
    engine.require_engine()
    engine.require_image(image)
    words = ["docker", "run", "--rm", studio.network(), *options, *mounts, image, *command]
    done = subprocess.run(words, check=False, stderr=stderr, text=True)
    if done.returncode == NOT_STARTED and (sentence := engine.unseen_mount(done.stderr or "")):
        raise UserError(sentence)
    if done.returncode == NOT_STARTED and done.stderr and _NOT_ATTACHED not in done.stderr:
        raise UserError(engine.not_started(image, done.stderr))
    if done.returncode != 0 and _NOT_ATTACHED in (done.stderr or ""):
        raise UserError(
            f"Podman could not start a container of {image}; `podman run --rm {image} true` names the reason"
        )
    if done.returncode == NO_COMMAND:
        raise UserError(no_command(image, command[0]))
    return done


def no_command(image: str, command: str) -> str:
    """The sentence for an image without a command."""
    return f"the image {image} has no command {command}; rebuild it with `make build`"
