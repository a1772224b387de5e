"""The benchmark. README.md explains what is measured; run.py measures speed, parity.py accuracy."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Last, because in the image code/ is already on the path.
sys.path.append(str(ROOT / "code"))
