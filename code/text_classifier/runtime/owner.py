"""The user as whom training runs: the owner of the model directory where that is not root.

SageMaker starts the image as root, and so does local mode, where the folders of a person are mounted: what root left
in them that person could neither change nor delete. The container's first process stays root, because it must report
failures and pass signals on whatever happens.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import PlatformError

#: What root needs to become another user and to signal it, and their numbers (capabilities(7)).
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}

#: Print each path that cannot be used so: `-r` or `-w`, then the paths.
_PROBE = 'test="$1"; shift; for path; do [ "$test" "$path" ] || echo "$path"; done'


@dataclass(frozen=True)
class Owner:
    """A user and a group other than root's."""

    uid: int
    gid: int

    def process_options(self) -> dict[str, Any]:
        """What makes subprocess start a process as this user, in no other group."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def training_user(model: Path, outputs: Sequence[Path], inputs: Sequence[Path]) -> Owner | None:
    """The owner of the `model` folder, with `outputs` made writable for it; None: training runs as this very process.

    That is so for any process but root's, where `model` is root's, and where root cannot do it; the last is printed.
    """
    if os.geteuid() != 0 or not model.exists() or (status := model.stat()).st_uid == 0:
        return None
    owner = Owner(status.st_uid, status.st_gid)
    obstacle = _missing_capabilities() or _hand_over(owner, outputs) or _unusable(owner, outputs, inputs)
    if obstacle:
        print(f"Training runs as root, not as user {owner.uid}, who owns {model}: {obstacle}", flush=True)
        return None
    print(f"Training runs as user {owner.uid}, who owns {model}", flush=True)
    return owner


def give(path: Path, folder: Path) -> None:
    """Let a file that root has written belong to the owner of `folder`, where root may."""
    if os.geteuid() == 0 and _missing_capabilities() is None:
        status = folder.stat()
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def provide_home(owner: Owner | None) -> None:
    """See to it that HOME, where libraries keep their caches, can be written: if not, it becomes a folder in /tmp.

    A user without a name gets its number for one: libraries ask for it to name a cache. Raises PlatformError.
    """
    home = os.environ.get("HOME", "/")
    writable = not _refused(owner, "-w", [home]) if owner else os.access(home, os.W_OK)
    if not writable:
        os.environ["HOME"] = _new_home(owner)
    uid = owner.uid if owner else os.getuid()
    try:
        pwd.getpwuid(uid)
    except KeyError:
        os.environ.setdefault("USER", str(uid))


def _new_home(owner: Owner | None) -> str:
    try:
        home = tempfile.mkdtemp(prefix="home-")
    except OSError as error:
        raise PlatformError(f"no temporary folder can be made ({error.strerror}); mount /tmp writable") from None
    if owner:
        os.chown(home, owner.uid, owner.gid)
    return home


def _missing_capabilities() -> str | None:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
    missing = [f"CAP_{name}" for name, number in _CAPABILITIES.items() if not effective >> number & 1]
    return f"the container has no {', '.join(missing)}" if missing else None


def _hand_over(owner: Owner, folders: Sequence[Path]) -> str | None:
    """Give the user what in these folders is root's, such as the checkpoints of an earlier run.

    Links are left alone: what they lead to may lie anywhere.
    """
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in (folder, *folder.rglob("*")):
                status = path.lstat()
                if status.st_uid == 0 and not path.is_symlink() and (path.is_dir() or status.st_nlink == 1):
                    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    except OSError as error:
        return f"{error.filename} cannot be given to it ({error.strerror})"
    return None


def _unusable(owner: Owner, outputs: Sequence[Path], inputs: Sequence[Path]) -> str | None:
    if unwritable := _refused(owner, "-w", outputs):
        return f"it cannot write {', '.join(unwritable)}"
    if unreadable := _refused(owner, "-r", inputs):
        return f"it cannot read {', '.join(unreadable)}"
    return None


def _refused(owner: Owner, test: str, paths: Sequence[Path | str]) -> list[str]:
    """Those of the paths that the user cannot use so. The kernel is asked: modes alone do not tell."""
    command = ["/bin/sh", "-c", _PROBE, "sh", test, *map(str, paths)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, **owner.process_options()
    ).stdout.splitlines()
