"""What the mode bits and the POSIX ACL of a file allow a user. Pure: the kernel's acl_permission_check() in Python.

The daemon runs as root, to which the kernel refuses nothing. Before it reports anything about a file to a user, it
therefore computes what the kernel would allow that user (path_resolution(7), acl(5)). Capabilities of single processes
and the rules of security modules are not considered: only UID 0 is privileged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

READ, WRITE, EXECUTE = 4, 2, 1

ACL = "system.posix_acl_access"
"""The extended attribute that holds the ACL of a file that has one."""

# linux/posix_acl_xattr.h
_VERSION = 2
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Inode:
    """Owner, group, mode and ACL of a file; `acl` is the raw extended attribute."""

    uid: int
    gid: int
    mode: int
    acl: bytes | None = None


def permitted(inode: Inode, uid: int, groups: frozenset[int], want: int) -> bool:
    """True if a process of `uid` with all its `groups` may do `want`, a sum of READ, WRITE and EXECUTE."""
    if uid == 0:
        # CAP_DAC_OVERRIDE, which does not permit executing a file without any execute bit.
        return not want & EXECUTE or bool(inode.mode & 0o111) or inode.mode & 0o170000 == 0o040000
    if uid == inode.uid:
        return _covers(inode.mode >> 6, want)
    # With an ACL the group bits are its mask. The kernel ignores an ACL whose mask allows nothing.
    if inode.acl is not None and inode.mode & 0o070:
        return _by_acl(list(_entries(inode.acl)), inode.gid, uid, groups, want)
    return _covers(inode.mode >> 3 if inode.gid in groups else inode.mode, want)


def _by_acl(entries: list[tuple[int, int, int]], gid: int, uid: int, groups: frozenset[int], want: int) -> bool:
    mask = next((perm for tag, perm, _ in entries if tag == _MASK), 7)
    for tag, perm, number in entries:
        if tag == _USER and number == uid:
            return _covers(perm & mask, want)
    matching = [
        perm
        for tag, perm, number in entries
        if (tag == _GROUP_OBJ and gid in groups) or (tag == _GROUP and number in groups)
    ]
    if matching:
        return any(_covers(perm & mask, want) for perm in matching)
    return any(_covers(perm, want) for tag, perm, _ in entries if tag == _OTHER)


def _entries(acl: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, permissions, ID) of each entry; nothing for an ACL in an unknown format, which so allows nothing."""
    size = len(acl) - _HEADER.size
    if size < 0 or size % _ENTRY.size or _HEADER.unpack_from(acl)[0] != _VERSION:
        return
    for offset in range(_HEADER.size, len(acl), _ENTRY.size):
        tag, perm, number = _ENTRY.unpack_from(acl, offset)
        yield tag, perm, number


def _covers(bits: int, want: int) -> bool:
    return not want & ~bits
