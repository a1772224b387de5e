"""The device of a process, and the CUDA stream of all its work."""

from __future__ import annotations

import os

import torch

from text_classifier.contract.errors import PlatformError
from text_classifier.runtime import gpu


def select_device() -> torch.device:
    """This process's GPU if the host has GPUs, else the CPU. Raises PlatformError if torch cannot use the GPUs.

    On a GPU a new stream becomes the current one for the calling thread, which does all GPU work: step.GraphedStep
    captures CUDA graphs on the current stream, and the default stream cannot be captured.
    """
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))
        return device
    if gpu.count(gpu.capabilities()):
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise PlatformError(f"torch cannot use the host's GPUs ({reason}); start the job again") from None
    return torch.device("cpu")
