"""Mode bits and ACLs, compared with what the kernel allows a process of the same user."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.apps.caller import may_read_journal
from deployd.files.path_access import PathAccess
from deployd.files.permission import ACL, EXECUTE, READ, WRITE, Inode, permitted

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")

ALICE, BOB, STAFF, ADM = 2001, 2002, 3001, 3002
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
UNDEFINED = 0xFFFFFFFF
ASK = "import json,os,sys; print(json.dumps([[os.access(p, m) for m in range(8)] for p in json.load(sys.stdin)]))"
FIND = """
import json, os, sys
def found(path):
    try:
        os.stat(path)
    except PermissionError:
        return "closed"
    except OSError as error:
        return error.errno
    return os.path.realpath(path)
print(json.dumps([found(path) for path in json.load(sys.stdin)]))
"""


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def as_user(uid: int, groups: list[int], script: str, paths: list[str]) -> list[object]:
    become = ["setpriv", f"--reuid={uid}", f"--regid={groups[0]}", f"--groups={','.join(map(str, groups))}"]
    argv = [*become, sys.executable, "-IS", "-c", script]
    done = subprocess.run(argv, input=json.dumps(paths), capture_output=True, text=True, check=True)
    answers: list[object] = json.loads(done.stdout)
    return answers


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory that every user may search and in which ACLs can be set."""
    for directory in (tmp_path, *list(tmp_path.parents)[:-2]):
        if directory.stat().st_uid == 0:
            directory.chmod(directory.stat().st_mode | 0o011)
    probe = tmp_path / "probe"
    probe.touch()
    try:
        os.setxattr(probe, ACL, acl((USER_OBJ, 6, UNDEFINED), (GROUP_OBJ, 4, UNDEFINED), (OTHER, 0, UNDEFINED)))
    except OSError:
        pytest.skip("no ACLs here")
    return tmp_path


def made(path: Path, chance: random.Random) -> Inode:
    """Create a file with a random owner, group, mode and perhaps ACL."""
    path.touch()
    os.chown(path, chance.choice((0, ALICE, BOB)), chance.choice((0, STAFF, ADM)))
    path.chmod(chance.randrange(0o1000))
    if chance.random() < 0.7:
        named = [(USER, chance.randrange(8), uid) for uid in (ALICE, BOB) if chance.random() < 0.5]
        groups = [(GROUP, chance.randrange(8), gid) for gid in (STAFF, ADM) if chance.random() < 0.5]
        more = [(MASK, chance.choice((0, 1, 4, 5, 7)), UNDEFINED)] if named or groups else []
        mine = [(tag, chance.randrange(8), UNDEFINED) for tag in (USER_OBJ, GROUP_OBJ, OTHER)]
        os.setxattr(path, ACL, acl(mine[0], *named, mine[1], *groups, *more, mine[2]))
    status = path.stat()
    try:
        kept = os.getxattr(path, ACL)
    except OSError:
        kept = None
    return Inode(status.st_uid, status.st_gid, status.st_mode, kept)


@pytest.mark.parametrize(
    ("uid", "groups"), [(ALICE, [STAFF]), (ALICE, [9999]), (BOB, [STAFF, ADM]), (4000, [ADM]), (4000, [9999])]
)
def test_permissions_match_the_kernels(place: Path, uid: int, groups: list[int]) -> None:
    chance = random.Random(f"{uid}{groups}")
    files = {str(place / str(number)): made(place / str(number), chance) for number in range(400)}
    for (path, inode), answer in zip(files.items(), as_user(uid, groups, ASK, list(files)), strict=True):
        ours = [permitted(inode, uid, frozenset(groups), want) for want in range(8)]
        assert ours == answer, (path, oct(inode.mode), inode)


def test_root_may_do_anything_but_execute_files_without_an_execute_bit() -> None:
    assert permitted(Inode(ALICE, STAFF, 0o100000), 0, frozenset(), READ | WRITE)
    assert not permitted(Inode(ALICE, STAFF, 0o100644), 0, frozenset(), EXECUTE)
    assert permitted(Inode(ALICE, STAFF, 0o040000), 0, frozenset(), EXECUTE)


@given(st.binary(max_size=60), st.integers(0, 0o777))
def test_an_acl_of_an_unknown_format_allows_nothing(junk: bytes, mode: int) -> None:
    allowed = permitted(Inode(0, 0, mode, junk), ALICE, frozenset({STAFF}), READ)
    assert isinstance(allowed, bool)
    if len(junk) % 8 != 4 and mode & 0o070:
        assert not allowed


def test_paths_are_resolved_as_for_the_user(place: Path) -> None:
    open_, closed = place / "open", place / "closed"
    for directory, mode in ((open_, 0o755), (closed, 0o750)):
        (directory / "sub").mkdir(parents=True)
        (directory / "file").touch()
        directory.chmod(mode)
    os.chown(closed, 0, ADM)
    links: dict[str, Path | str] = {
        "in": closed / "file",
        "relative": "../closed/sub",
        "loop": "loop",
        "gone": "nowhere",
        "up": "sub/../file",
        "two": "relative/..",
    }
    for name, target in links.items():
        (open_ / name).symlink_to(target)
    paths = [
        *(f"{open_}/{name}" for name in ("", "file", "file/x", "in", "relative", "loop", "gone", "up", "two", "none")),
        *(f"{closed}/{name}" for name in ("", "file", "none", "sub/none", "../open/file", "../open/none")),
        str(closed),
        "/proc/self/root",
        "/lost+found/x",
    ]
    for uid, groups in ((ALICE, [STAFF]), (ALICE, [STAFF, ADM])):
        access = PathAccess(uid, frozenset(groups))
        kernels = as_user(uid, groups, FIND, paths)
        for path, kernel in zip(paths, kernels, strict=True):
            try:
                ours: object = access.find(path).path
            except PermissionError:
                ours = "closed"
            except OSError as error:
                ours = error.errno
            if path.startswith("/proc"):
                assert ours == "closed", "the mode bits do not govern links in /proc"
            elif path == str(closed) + "/" and kernel == "closed":
                assert ours == str(closed)
            else:
                assert ours == kernel, path


def test_listing_a_directory_and_reading_a_file(place: Path) -> None:
    drop = place / "drop"
    drop.mkdir(mode=0o711)
    (drop / "known").touch(mode=0o644)
    alice = PathAccess(ALICE, frozenset({STAFF}))
    assert not alice.may_list(str(drop))
    assert alice.may_read(f"{drop}/known")
    assert not alice.may_read(f"{drop}/unknown")
    assert PathAccess(0, frozenset()).may_list(str(drop))
    assert not alice.may_read("relative")
    assert not alice.may_read("/etc/\0")


def test_users_may_read_the_journal_if_they_may_open_its_files(place: Path) -> None:
    directory = place / "journal" / "abc"
    directory.mkdir(parents=True)
    kept = directory / "system.journal"
    kept.touch()
    os.chown(kept, 0, ADM)
    kept.chmod(0o640)
    other = place / "none"

    def may(uid: int, *groups: int) -> bool:
        return may_read_journal(PathAccess(uid, frozenset(groups)), (str(directory.parent), str(other)), machine="abc")

    assert may(ALICE, ADM)
    assert not may(ALICE, STAFF)
    mine = [(tag, perm, UNDEFINED) for tag, perm in ((USER_OBJ, 6), (GROUP_OBJ, 4), (MASK, 4), (OTHER, 0))]
    os.setxattr(kept, ACL, acl(mine[0], mine[1], (GROUP, 4, STAFF), *mine[2:]))
    assert may(ALICE, STAFF), "as systemd-tmpfiles gives it to adm and wheel"
    directory.chmod(0o700)
    assert not may(ALICE, ADM)
    kept.unlink()
    assert not may(ALICE, ADM), "without a journal no user may read it"
