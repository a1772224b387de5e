"""Unpacking of archives."""

import tarfile

import pytest

from launcher.local.archives import unpack
from support.launching import write_archive

pytestmark = pytest.mark.usefixtures("no_aws")


def test_archives_are_unpacked(tmp_path):
    file = write_archive(tmp_path / "a.tar.gz", ("data", tarfile.DIRTYPE), ("data/metrics.json", tarfile.REGTYPE))
    unpack(file, tmp_path / "output")
    assert (tmp_path / "output" / "data" / "metrics.json").read_text() == "data/metrics.json"


@pytest.mark.parametrize("damage", ["cut", "data", "checksum", "no archive"])
def test_damage_is_one_kind_of_error(tmp_path, damage):
    file = write_archive(tmp_path / "a.tar.gz", *((f"{number:0100}", tarfile.REGTYPE) for number in range(2000)))
    content = bytearray(file.read_bytes())
    if damage == "data":
        content[len(content) // 2 : len(content) // 2 + 60] = bytes(60)
    elif damage == "checksum":
        content[-6] ^= 1
    file.write_bytes({"cut": content[:-2000], "no archive": b"x" * 2000}.get(damage, content))
    with pytest.raises(ValueError, match="^a.tar.gz is damaged: [^\n]+$"):
        unpack(file, tmp_path / "output")


def test_a_full_disk_is_not_damage(tmp_path):
    file = write_archive(tmp_path / "a.tar.gz", ("a", tarfile.REGTYPE))
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "a").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        unpack(file, tmp_path / "output")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("/outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("link", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
    ],
)
def test_archives_with_members_outside_are_refused(tmp_path, name, kind):
    with pytest.raises(ValueError, match="is not a file or folder inside the archive"):
        unpack(write_archive(tmp_path / "a.tar.gz", (name, kind)), tmp_path / "output")
    assert not (tmp_path / "outside").exists()
