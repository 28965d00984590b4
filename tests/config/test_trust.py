"""Which files are trusted, and that reading a file never blocks."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config import trust
from deployd.config.trust import writable
from deployd.errors import InvalidFile, NoSuchApp
from deployd.files.walk import Step
from tests.config.app_text import TOP

NOBODY = 65534
TEXT = "\n".join(f"{key} = {value}" for key, value in TOP.items())
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Make a directory that only root can write, unlike those below /tmp."""
    with TemporaryDirectory(prefix="deployd-test-", dir="/etc") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def state(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("info", "acl", "problem"),
    [
        (state(0o644), False, ""),
        (state(0o664), False, ""),
        (state(0o644, gid=NOBODY), True, ""),
        (state(0o644, NOBODY), False, "/x belongs to user nobody (mode 0644); chown root and chmod go-w it"),
        (state(0o444, 4242), False, "/x belongs to user 4242 (mode 0444); chown root and chmod go-w it"),
        (state(0o664, gid=4242), False, "group 4242 can write /x (root's, mode 0664); chmod go-w it"),
        (state(0o646), False, "everybody can write /x (root's, mode 0646); chmod go-w it"),
        (state(0o1777), False, "everybody can write /x (root's, mode 1777); chmod go-w it"),
        (
            state(0o664),
            True,
            "an access control list lets others write /x (root's, mode 0664); setfacl -b and chmod go-w it",
        ),
    ],
)
def test_files_that_other_users_can_write(info: os.stat_result, acl: bool, problem: str) -> None:
    assert writable("/x", info, lambda: acl) == problem


@given(st.integers(0, 0o7777), st.sampled_from([0, 1, NOBODY]), st.sampled_from([0, 1, NOBODY]), st.booleans())
def test_only_root_can_write_trusted_files(mode: int, uid: int, gid: int, acl: bool) -> None:
    if not writable("/x", state(mode, uid, gid), lambda: acl):
        assert uid == 0
        assert not mode & 0o002
        assert not mode & 0o020 or (gid == 0 and not acl)


def write(path: Path, content: str | None = None) -> Path:
    path.write_text(TEXT if content is None else content)
    path.chmod(0o644)
    return path


@needs_root
def test_an_app_file_and_its_parent_directories_must_be_roots(directory: Path) -> None:
    file = write(directory / "shop.toml")
    assert config.load(file).name == "shop"
    os.chown(file, NOBODY, NOBODY)
    with pytest.raises(InvalidFile) as refused:
        config.load(file)
    assert str(refused.value) == (
        f"{file}: is not trusted, because {file} belongs to user nobody (mode 0644); chown root and chmod go-w it"
    )
    os.chown(file, 0, 0)
    for mode in (0o775, 0o757, 0o1777):
        directory.chmod(mode)
        os.chown(directory, 0, NOBODY)
        with pytest.raises(InvalidFile, match=rf"can write {directory} \(root's, mode {mode:04o}\); chmod go-w it"):
            config.load(file)


@needs_root
def test_directories_on_the_path_of_a_symlink_must_be_roots(directory: Path, tmp_path: Path) -> None:
    (directory / "shop.toml").symlink_to(write(directory / "other"))
    assert config.load(directory / "shop.toml").name == "shop"
    (directory / "tmp.toml").symlink_to(write(tmp_path / "x.toml"))
    with pytest.raises(InvalidFile, match=r"is not trusted, because everybody can write /tmp \("):
        config.load(directory / "tmp.toml")
    (directory / "inside").mkdir()
    os.chown(directory / "inside", NOBODY, NOBODY)
    (directory / "inside" / "link").symlink_to("../other")
    (directory / "through.toml").symlink_to("inside/link")
    with pytest.raises(InvalidFile, match=r"/inside belongs to user nobody"):
        config.load(directory / "through.toml")
    (directory / "up.toml").symlink_to("inside/../other")
    with pytest.raises(InvalidFile, match=r"/inside belongs to user nobody"):
        config.load(directory / "up.toml")


@needs_root
def test_an_access_control_list_counts(directory: Path) -> None:
    file = write(directory / "shop.toml")
    # struct posix_acl_xattr: user::rw- user:nobody:rw- group::r-- mask::rw- other::r--
    entries = [(1, 6, 0xFFFFFFFF), (2, 6, NOBODY), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    packed = b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, mode, who in entries
    )
    try:
        os.setxattr(file, "system.posix_acl_access", (2).to_bytes(4, "little") + packed)
    except OSError as error:
        pytest.skip(f"no ACLs in /etc: {error}")
    with pytest.raises(InvalidFile, match="an access control list lets others write"):
        config.load(file)


@needs_root
def test_special_files_are_refused_without_blocking(directory: Path) -> None:
    os.mkfifo(directory / "fifo.toml", 0o644)
    os.mknod(directory / "device.toml", stat.S_IFCHR | 0o644, os.makedev(1, 5))
    (directory / "directory.toml").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "socket.toml"))
        (directory / "socket.toml").chmod(0o755)
        for name in ("fifo", "device", "directory", "socket"):
            kind = name.upper() if name == "fifo" else name
            with pytest.raises(InvalidFile, match=rf"{name}\.toml: is a {kind}, not a regular file; remove it"):
                config.load(directory / f"{name}.toml")
    (directory / "loop.toml").symlink_to("loop.toml")
    with pytest.raises(InvalidFile, match=r"loop\.toml: cannot be read: Too many levels of symbolic links"):
        config.load(directory / "loop.toml")
    (directory / "dangling.toml").symlink_to("nothing")
    with pytest.raises(NoSuchApp):
        config.load(directory / "dangling.toml")
    with pytest.raises(InvalidFile, match="is larger than 1 MiB"):
        config.load(write(directory / "large.toml", "#" * 2 * 1024 * 1024))


@needs_root
def test_the_file_that_is_checked_is_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is swapped after the check is not opened again by its name."""
    file = write(directory / "shop.toml")
    seen: list[str] = []

    def swap(step: Step) -> None:
        seen.append(step.path)
        if step.path == str(file):
            file.unlink()
            file.symlink_to("/etc/shadow")

    monkeypatch.setattr(trust, "require_trusted", swap)
    assert config.load(file).name == "shop"
    assert seen == ["/", "/etc", str(directory), str(file)]


@pytest.mark.parametrize("name", ["a b", ".", "-x", "x\ny", "x" * 70, "caf\udce9"])
def test_refusals_escape_the_name_of_the_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="cannot be the name of an app") as refused:
        config.load(write(tmp_path / f"{name}.toml"))
    assert str(refused.value).isprintable()
