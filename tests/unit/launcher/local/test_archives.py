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
