"""Which file system a path lies on, and how much space it has."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
LOCAL = IN_MEMORY | {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "overlay", "squashfs"}
SHARED = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs", "ceph", "cifs", "smb3", "afs", "panfs", "wekafs", "9p"}
SHARED |= {"orangefs", "pvfs2", "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.juicefs", "fuse.moosefs"}
"""Any other kind may be either."""


@dataclass(frozen=True)
class Mount:
    """Where a file system is mounted, and its kind, such as "ext4" or "nfs4"."""

    folder: str
    kind: str


@dataclass(frozen=True)
class Space:
    """Bytes of a file system that this user may still use, and in all; the number of files that it can still hold."""

    free: int
    total: int
    files: int | None  # None where it does not count them


def mount_of(path: Path, mounts: str) -> Mount | None:
    """Return the file system of an absolute path without links, given the text of /proc/self/mountinfo.

    It is the innermost mount above the path, the latest of those in one folder; None where none is listed.
    """
    found: Mount | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        folder = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if path.is_relative_to(folder) and (found is None or len(folder) >= len(found.folder)):
            found = Mount(folder, after.split()[0])
    return found


def mount_here(path: Path) -> Mount | None:
    """Return the file system that a path, which need not exist, lies on here; None where it is not known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return mount_of(path.resolve(), mounts)


def space(path: Path) -> Space:
    """Return the space of the file system on which an existing path lies."""
    found = os.statvfs(path)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    free = found.f_bavail * found.f_frsize
    return Space(free, used + free, found.f_favail if found.f_files else None)


def nearest_existing(path: Path) -> Path:
    """Return the innermost of a path and its parents that exists, made absolute; a dangling link counts as existing."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
