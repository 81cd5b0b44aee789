"""What file system a path lies on, and how much room it has."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
LOCAL = IN_MEMORY | {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "overlay", "squashfs"}
SHARED = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs", "ceph", "cifs", "smb3", "afs", "panfs", "wekafs", "9p"}
SHARED |= {"orangefs", "pvfs2", "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.juicefs", "fuse.moosefs"}
"""Of any other kind nothing is said: it may be either."""


@dataclass(frozen=True)
class Mount:
    """A file system where it is mounted.

    Args:
        place: the folder.
        kind: such as "ext4" or "nfs4".
    """

    place: str
    kind: str


@dataclass(frozen=True)
class Room:
    """How much room a file system has for this user.

    Args:
        free: bytes.
        total: bytes, used ones included.
        files: how many more it can hold; None where it does not count them.
    """

    free: int
    total: int
    files: int | None


def mount_of(path: Path, mounts: str) -> Mount | None:
    """Return the file system that a path lies on.

    Args:
        path: absolute, without links.
        mounts: the text of /proc/self/mountinfo.

    Returns:
        The innermost mount above the path, the latest of those in one place; None where none is listed.
    """
    found: Mount | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if path.is_relative_to(place) and (found is None or len(place) >= len(found.place)):
            found = Mount(place, after.split()[0])
    return found


def mount_here(path: Path) -> Mount | None:
    """Return the file system of this machine that a path lies on, or None where it cannot be told.

    Args:
        path: need not exist.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return mount_of(path.resolve(), mounts)


def room(path: Path) -> Room:
    """Return how much room there is for this user where a path lies.

    Args:
        path: exists.
    """
    found = os.statvfs(path)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    free = found.f_bavail * found.f_frsize
    return Room(free, used + free, found.f_favail if found.f_files else None)


def nearest(path: Path) -> Path:
    """Return the innermost of a path and its parents that is there.

    Args:
        path: made absolute; a link that leads nowhere is there.
    """
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.lexists(place))
