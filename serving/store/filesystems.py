"""Which file systems a directory store may lie on: those of one machine, whose locks and links can be trusted.

A list of what is known to be local, since there is no end to the kinds that are not: network and cluster file systems,
object stores that are mounted as folders, folders that a virtual machine shares with its host. `directory.py` asks.
"""

from __future__ import annotations

from pathlib import Path

LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "nilfs2", "reiserfs", "ufs"}
    | {"tmpfs", "ramfs", "overlay", "aufs", "fuse.fuse-overlayfs", "ecryptfs"}
    | {"apfs", "hfs"}
)
"""As the table of mounts names them. FAT and its kin are local, and have no links."""
MOUNTS = Path("/proc/self/mounts")


def filesystem_of(path: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the file system that holds `path`, by the kernel's table of mounts; empty where there is no table."""
    best, kind = "", ""
    try:
        table = mounts.read_text(errors="replace")
    except FileNotFoundError:  # another kernel than Linux
        return ""
    for line in table.splitlines():
        _, mount, found, *_ = line.split()
        mount = mount.replace("\\040", " ")  # how the kernel writes a space
        if len(mount) >= len(best) and (path == Path(mount) or Path(mount) in path.parents):
            best, kind = mount, found
    return kind
