"""No entry of an archive leads out of the release."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery.unpacking import unpack

KINDS = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
ODD = {"fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}


def archive(*entries: tuple[str, str, str], compression: str = "") -> io.BytesIO:
    """Make an archive of (kind, name, target or contents)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as made:  # type: ignore[call-overload]
        for kind, name, text in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = {**KINDS, **ODD}[kind], 0o4755 if text.startswith("#!") else 0o666
            entry.uid = entry.gid = 12345
            if kind == "file":
                entry.size = len(text)
                made.addfile(entry, io.BytesIO(text.encode()))
            else:
                entry.linkname = text
                made.addfile(entry)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_files_directories_and_links_are_unpacked(tmp_path: Path, compression: str) -> None:
    found = archive(
        ("directory", "./", ""),
        ("file", "./bin/serve", "#!/bin/sh"),
        ("file", "lib/app.rb", "code"),
        ("symlink", "bin/lib", "../lib"),
        ("hardlink", "copy", "lib/app.rb"),
        ("directory", "tmp/cache", ""),
        compression=compression,
    )
    digest = unpack(found, tmp_path)
    assert len(digest) == 64
    assert (tmp_path / "bin/lib/app.rb").read_text() == (tmp_path / "copy").read_text() == "code"
    assert (tmp_path / "bin/serve").stat().st_mode & 0o7777 == 0o755, "no set-user-ID"
    assert (tmp_path / "lib/app.rb").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "lib/app.rb").stat().st_uid == os.getuid()
    assert (tmp_path / "tmp/cache").is_dir()


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([("file", "/etc/passwd", "x")], "'/etc/passwd', which is not below the release"),
        ([("file", "../x", "x")], "'../x', which is not below the release"),
        ([("file", "a/../../x", "x")], "which is not below the release"),
        ([("symlink", "x", "/etc")], "a link to '/etc', which may lead out of the release"),
        ([("symlink", "x", "..")], "which may lead out of the release"),
        ([("symlink", "a/x", "../../y")], "which may lead out of the release"),
        ([("symlink", "x", "a/../..")], "which may lead out of the release"),
        ([("symlink", "a", "b"), ("file", "a/x", "x")], "behind the link 'a'"),
        ([("symlink", "a", "b"), ("file", "a", "x")], "'a' twice"),
        ([("file", "a", "x"), ("file", "./a", "y")], "'a' twice"),
        ([("hardlink", "x", "/etc/passwd")], "which is not below the release"),
        ([("hardlink", "x", "y")], "a link to 'y', which is no file before it"),
        ([("fifo", "x", "")], "is a device or the like"),
        ([("device", "x", "")], "is a device or the like"),
    ],
)
def test_what_would_leave_the_release_is_refused(
    tmp_path: Path, entries: list[tuple[str, str, str]], sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        unpack(archive(*entries), tmp_path)
    assert sentence in str(refused.value)


def test_a_build_may_link_to_programs_outside_and_keeps_times(tmp_path: Path) -> None:
    """As that of Python makes ``venv/bin/python`` a link, and compares the times of sources and compiled files."""
    stream = archive(("file", "a.py", "x"), ("symlink", "bin/python", "/usr/bin/python3"))
    unpack(stream, tmp_path, built=True)
    assert (tmp_path / "bin/python").readlink() == Path("/usr/bin/python3")
    assert (tmp_path / "a.py").stat().st_mtime == 0, "that of the archive"
    behind = archive(("symlink", "etc", "/etc"), ("file", "etc/passwd", "x"))
    (tmp_path / "2").mkdir()
    with pytest.raises(Refused, match="behind the link 'etc'"):
        unpack(behind, tmp_path / "2", built=True)


@pytest.mark.parametrize("damage", [b"", b"no archive at all" * 100, None])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    whole = archive(("file", "a", "x" * 5000)).getvalue()
    with pytest.raises(Refused, match="the archive cannot be read"):
        unpack(io.BytesIO(whole[:2000] if damage is None else damage), tmp_path)


NAMES = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), NAMES, NAMES), max_size=8)


@settings(max_examples=300)
@given(ENTRIES)
def test_whatever_an_archive_says_nothing_is_outside(entries: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as around:
        outside, inside = Path(around) / "outside", Path(around) / "outside" / "inside"
        inside.mkdir(parents=True)
        before = {path: path.lstat().st_mtime_ns for path in (Path(around), outside)}
        with contextlib.suppress(DeploydError):
            unpack(archive(*entries), inside)
        assert {path.name for path in outside.iterdir()} == {"inside"}
        assert {path: path.lstat().st_mtime_ns for path in before} == before
        for path in inside.rglob("*"):
            assert Path(os.path.realpath(path)).is_relative_to(inside.resolve()), path
