"""The implementation of launch.py. For Python and notebooks: `from launcher import estimator, upload, check, doctor`.

At the top: those four functions, exit codes, signals, the start and end of programs, the demo's data and the push
watchdog.

Five packages, each of which may import those named after it: aws, cli, local, sdk, plan. Of code/ only
text_classifier.contract is imported, so that a job is checked by the same code before it starts and when it runs.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

#: The repository.
ROOT = Path(__file__).resolve().parent.parent

# The contract package needs the standard library only.
sys.path.append(str(ROOT / "code"))


def __getattr__(name: str) -> Any:
    """The functions for Python, which `launch.py` does without."""
    if name in ("check", "doctor", "estimator", "upload"):
        return getattr(importlib.import_module("launcher.notebook"), name)
    raise AttributeError(f"module 'launcher' has no attribute {name!r}")
