"""Builds the image twice without cache and compares the contents: `make test-reproducible`.

Two builds of one commit must have the same files with the same modes and contents.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("sagemaker-text-classification:first", "sagemaker-text-classification:second")

Entry = tuple[int, int, str]  # mode, size, SHA-256 or target of a link


def listing(image: str) -> dict[str, Entry]:
    """All files of an image by path, in one pass over the output of `docker export`."""
    container = _docker("create", image)
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            assert export.stdout is not None
            with tarfile.open(fileobj=export.stdout, mode="r|", bufsize=1 << 20) as archive:
                return {member.name: _entry(archive, member) for member in archive}
    finally:
        _docker("rm", container)


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    file = archive.extractfile(member) if member.isreg() else None
    # Its type lacks readinto, which the object has.
    content = member.linkname if file is None else hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore
    return member.mode, member.size, content


def differences(first: dict[str, Entry], second: dict[str, Entry]) -> list[str]:
    """The paths at which two images differ."""
    return [path for path in sorted(first.keys() | second.keys()) if first.get(path) != second.get(path)]


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main() -> int:
    """Print all differences. Exit codes: 0 none, 1 some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="two images to compare (default: build both)")
    images = parser.parse_args().images
    if len(images) not in (0, 2):
        parser.error("give two images, or none")
    for image in () if images else IMAGES:
        subprocess.run([ROOT / "build_and_push.sh", "build", "--no-cache", "--image", image], check=True)
    first, second = (listing(image) for image in images or IMAGES)
    found = differences(first, second)
    for path in found:
        print(f"{path}: {first.get(path)} and {second.get(path)}")
    print(f"{len(first)} and {len(second)} files, {len(found)} differences")
    if not images:
        _docker("image", "rm", *IMAGES)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
