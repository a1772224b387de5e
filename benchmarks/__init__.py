"""The benchmark: README.md says what is measured, run.py and parity.py run it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# At the end: the image has code/ on its path by itself.
sys.path.append(str(ROOT / "code"))
