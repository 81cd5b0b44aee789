"""Find the kind and the free space of a path's file system."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
LOCAL = IN_MEMORY | {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "overlay", "squashfs"}
SHARED = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs", "ceph", "cifs", "smb3", "afs", "panfs", "wekafs", "9p"}
SHARED |= {"orangefs", "pvfs2", "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.juicefs", "fuse.moosefs"}
"""Kinds not listed may be local or shared."""


@dataclass(frozen=True)
class FreeSpace:
    """Bytes of a file system that are free for this user, and in total; the number of further files it can store."""

    free: int
    total: int
    files: int | None  # None where the file system does not count them


def kind_of_mount(path: Path, mounts: str) -> str | None:
    """Find the kind of file system of an absolute path without links in the text of /proc/self/mountinfo.

    It is that of the innermost mount above the path, and the latest of several on one folder; None where none is
    listed.
    """
    innermost, kind = "", None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        folder = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if path.is_relative_to(folder) and len(folder) >= len(innermost):
            innermost, kind = folder, after.split()[0]
    return kind


def file_system(path: Path) -> str | None:
    """Return the kind of file system, such as "ext4", of a path, which need not exist; None if it is unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return kind_of_mount(path.resolve(), mounts)


def space(path: Path) -> FreeSpace:
    """Return the space of the file system on which an existing path lies."""
    found = os.statvfs(path)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    free = found.f_bavail * found.f_frsize
    return FreeSpace(free, used + free, found.f_favail if found.f_files else None)


def nearest_existing(path: Path) -> Path:
    """Return the path or its innermost parent that exists, made absolute; a dangling link counts as existing."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
