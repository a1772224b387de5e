"""The user that training runs as: the owner of the model directory, when that is not root.

SageMaker starts the image as root, and so does local mode, which mounts a user's own folders: files that root leaves
there could not be changed or deleted by that user. The container's first process stays root, because it must always be
able to report failures and forward signals.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text_classifier.contract.errors import PlatformError

#: The capabilities that root needs to switch to another user and to signal it, and their numbers (capabilities(7)).
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}

#: Shell script that prints the paths for which a test fails; its arguments are `-r` or `-w`, then the paths.
_PROBE = 'test="$1"; shift; for path; do [ "$test" "$path" ] || echo "$path"; done'


@dataclass(frozen=True)
class Owner:
    """A user other than root, with its group."""

    uid: int
    gid: int

    def process_options(self) -> dict[str, Any]:
        """The options that make subprocess.Popen start a process as this user, in no other group."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def training_user(model: Path, outputs: Sequence[Path], inputs: Sequence[Path]) -> Owner | None:
    """The owner of the `model` folder, after making `outputs` writable for it; None to keep the current user.

    The current user is kept unless it is root, when `model` belongs to root, and when root cannot switch to the owner;
    in the last case the reason is printed.
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
    """Change a file's owner to that of `folder`, if this process is root and the file system lets it."""
    if os.geteuid() == 0 and _missing_capabilities() is None:
        with contextlib.suppress(OSError):
            status = folder.stat()
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def provide_home(owner: Owner | None) -> None:
    """Point HOME to a new temporary folder if it is not writable: libraries keep their caches there.

    For a user without a name, USER is set to its number: libraries name caches after the user. Raises PlatformError
    when there is no writable temporary folder.
    """
    home = os.environ.get("HOME", "/")
    writable = not _refused(owner, "-w", [home]) if owner else os.access(home, os.W_OK)
    if not writable:
        os.environ["HOME"] = str(new_folder("home-", owner))
    uid = owner.uid if owner else os.getuid()
    try:
        pwd.getpwuid(uid)
    except KeyError:
        os.environ.setdefault("USER", str(uid))


def new_folder(prefix: str, owner: Owner | None = None) -> Path:
    """A new temporary folder of this user. Raises PlatformError when there is no writable temporary folder."""
    try:
        folder = tempfile.mkdtemp(prefix=prefix)
    except OSError as error:
        raise PlatformError(f"no temporary folder can be created ({error.strerror}); mount /tmp writable") from None
    if owner:
        os.chown(folder, owner.uid, owner.gid)
    return Path(folder)


def _missing_capabilities() -> str | None:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
    missing = [f"CAP_{name}" for name, number in _CAPABILITIES.items() if not effective >> number & 1]
    return f"the container has no {', '.join(missing)}" if missing else None


def _hand_over(owner: Owner, folders: Sequence[Path]) -> str | None:
    """Change the owner of everything of root's in these folders, such as checkpoints of an earlier run.

    Links are not followed, since they may lead anywhere. Returns the reason when it fails.
    """
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in (folder, *folder.rglob("*")):
                status = path.lstat()
                if status.st_uid == 0 and not path.is_symlink() and (path.is_dir() or status.st_nlink == 1):
                    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    except OSError as error:
        return f"the owner of {error.filename} cannot be changed ({error.strerror})"
    return None


def _unusable(owner: Owner, outputs: Sequence[Path], inputs: Sequence[Path]) -> str | None:
    if unwritable := _refused(owner, "-w", outputs):
        return f"it cannot write {', '.join(unwritable)}"
    if unreadable := _refused(owner, "-r", inputs):
        return f"it cannot read {', '.join(unreadable)}"
    return None


def _refused(owner: Owner, test: str, paths: Sequence[Path | str]) -> list[str]:
    """The paths for which the test fails as this user. The kernel decides: file modes alone are not enough."""
    command = ["/bin/sh", "-c", _PROBE, "sh", test, *map(str, paths)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, **owner.process_options()
    ).stdout.splitlines()
