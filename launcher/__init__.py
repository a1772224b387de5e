"""The implementation of launch.py. At the top: exit codes, signals, the demo's data and the push watchdog.

Five packages, each of which may import those named after it: aws, cli, local, sdk, plan. Of code/ only
text_classifier.contract is imported, so that a job is checked by the same code before it starts and when it runs.
"""

import sys
from pathlib import Path

#: The repository.
ROOT = Path(__file__).resolve().parent.parent

# The contract package needs the standard library only.
sys.path.append(str(ROOT / "code"))
