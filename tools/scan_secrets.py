"""Scans an image for secrets.

Without an argument it scans the files of the container that it runs in, in seconds. With the name of an image it scans
every layer, including files that later layers delete, in minutes (`make scan-image`).
"""

from __future__ import annotations

import argparse
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

#: Larger files are libraries or tables.
TEXT_BYTES = 1_000_000
#: Larger layers are not kept in memory.
SMALL_BYTES = 50_000_000
PACKAGES = r"opt/venv/lib/python[^/]+/site-packages"

NAMES = re.compile(
    r"(^|/)(\.git|\.env|\.netrc|\.aws|\.ssh|\.docker|\.pypirc|pip\.conf|\.npmrc|id_(rsa|dsa|ecdsa|ed25519)"
    r"|\.?\w*_history|[^/]*\.(key|p12|pfx|jks|kdbx|pem|crt|cer))$"
)
#: Public certificates of the distribution, boto3 and pip.
PUBLIC = re.compile(
    r"^(etc/ssl/certs/|usr/lib/ssl/cert\.pem$|usr/share/ca-certificates/|usr/share/doc/ca-certificates/examples/"
    rf"|{PACKAGES}/(botocore/cacert\.pem|pip/_vendor/certifi/cacert\.pem)$)"
)
CONTENT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}|\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bhf_[A-Za-z0-9]{34}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bxox[abprs]-[A-Za-z0-9-]{20}|https?://[^/\s:@\"'<>{}$]+:[^/\s:@\"'<>{}$]+@"
)
#: Libraries whose documentation and tests contain examples of secrets.
EXAMPLES = re.compile(
    rf"^{PACKAGES}/(boto3/examples|botocore|httpx2|pip/_vendor/urllib3|pydantic|transformers|urllib3)/"
)


def finding(path: str, content: bytes) -> str | None:
    """A description of the secret in a file, or None. The path has no leading slash."""
    if NAMES.search(path) and not PUBLIC.search(path):
        return f"{path} has the name of a secret"
    if path.endswith((".so", ".pyc")) or EXAMPLES.search(path):
        return None
    found = CONTENT.search(content)
    return f"{path} holds {found[0]!r}" if found else None


def in_layers(image: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in each layer and of the image's metadata; large files without content."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        assert save.stdout is not None
        with tarfile.open(fileobj=save.stdout, mode="r|", bufsize=1 << 20) as archive:
            for blob in archive:
                file = archive.extractfile(blob) if blob.isreg() else None
                if file is None:
                    continue
                content = None if blob.size > SMALL_BYTES else file.read()
                try:
                    layer = tarfile.open(fileobj=file if content is None else io.BytesIO(content), mode="r|")  # noqa: SIM115
                except tarfile.ReadError:
                    yield f"image/{blob.name}", content or b""
                    continue
                for member in layer:
                    text = layer.extractfile(member) if member.isreg() and member.size < TEXT_BYTES else None
                    yield member.name.removeprefix("./"), text.read() if text else b""
    if save.returncode != 0:
        sys.exit(f"scan_secrets.py: {image} cannot be saved; docker's message is above.")


def in_files() -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in this container's file system; without the content of large files and of
    packages, which the hashes of the lock verify."""
    device = os.stat("/").st_dev
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
        for path in (Path(folder) / name for name in (*folders, *names)):
            name = str(path)[1:]
            status = path.lstat()
            is_text = stat.S_ISREG(status.st_mode) and status.st_dev == device and status.st_size < TEXT_BYTES
            yield name, path.read_bytes() if is_text and not re.match(PACKAGES, name) else b""


def main() -> int:
    """Print all findings. Exit codes: 0 none, 1 some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "image", nargs="?", metavar="IMAGE", help="image to scan (default: the files of this container)"
    )
    image = parser.parse_args().image
    count, findings = 0, []
    for path, content in in_layers(image) if image else in_files():
        count += 1
        if problem := finding(path, content):
            findings.append(problem)
    print("\n".join([*findings, f"{count} files, {len(findings)} findings"]))
    return 1 if findings or not count else 0


if __name__ == "__main__":
    sys.exit(main())
