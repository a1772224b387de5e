"""What tests share. tests/README.md says which test goes where."""

from pathlib import Path

#: The repository.
ROOT = Path(__file__).resolve().parents[2]
