"""What launch.py does: the request, the checks, AWS and SageMaker local mode."""

import sys
from pathlib import Path

#: The repository.
ROOT = Path(__file__).resolve().parent.parent

# The image's own modules (hyperparameters, metrics, failures) are used here too, so that what is checked
# before a job starts is what the job itself checks. They are pure standard library.
sys.path.append(str(ROOT / "code"))
