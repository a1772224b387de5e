"""Neither the files nor the configuration of the image contain secrets. (make scan-image checks every layer.)"""

from __future__ import annotations

import subprocess

import pytest

from support import ROOT
from support.containers import IMAGE
from tools.scan_secrets import finding


def test_no_file_holds_a_secret() -> None:
    command = ["docker", "run", "--rm", "--network=none", "--volume", f"{ROOT / 'tools'}:/tools:ro", IMAGE]
    scan = subprocess.run([*command, "python", "/tools/scan_secrets.py"], capture_output=True, text=True, timeout=300)
    assert scan.returncode == 0, scan.stdout + scan.stderr
    assert int(scan.stdout.split()[0]) > 10_000


def test_no_setting_holds_a_secret() -> None:
    for command in (["image", "inspect"], ["history", "--no-trunc"]):
        content = subprocess.run(["docker", *command, IMAGE], capture_output=True, check=True).stdout
        assert finding("image/settings", content) is None


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("root/.bash_history", b""),
        ("opt/ml/code/.env", b""),
        ("opt/project/.git", b""),
        ("usr/local/share/ca-certificates/company.crt", b""),
        ("etc/x", b"key = AKIA" + b"ABCDEFGH" * 2),
        ("image/config.json", b'{"Env": ["PIP_INDEX_URL=https://' + b'me:secret@index.example/simple"]}'),
        ("etc/x", b"-----BEGIN RSA PRIVATE" + b" KEY-----\n" + b"A" * 64),
    ],
)
def test_a_secret_would_be_found(path: str, content: bytes) -> None:
    assert finding(path, content)
