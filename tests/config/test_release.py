"""What is missing from a release directory, its mark `.deployd/irreversible`, and its siblings."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.config.release import irreversible, is_there, missing, resolve_release, siblings
from deployd.errors import Refused
from deployd.model.app import App
from tests.config.app_text import parse

NOBODY = 65534


def make(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "bin/web").write_text("")
    (path / "bin/web").chmod(0o755)
    return path


def test_missing_names_the_missing_file(tmp_path: Path) -> None:
    release, app = make(tmp_path / "v1"), parse()
    assert missing(app, str(release)) == ""
    (release / "bin/web").unlink()
    assert (
        missing(app, str(release))
        == f"the program {release}/bin/web of the release is gone (No such file or directory)"
    )
    assert missing(replace(app, exec=("/bin/sh",)), str(release)) == ""
    shutil.rmtree(release)
    assert missing(app, str(release)) == f"the release {release} is gone (No such file or directory)"
    release.write_text("")
    assert missing(app, str(release)) == f"the release {release} is no longer a directory"
    assert not is_there(str(release))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"drops the column price\nsecond line\n", "drops the column price"),
        (b"", ".deployd/irreversible exists and gives no reason"),
        (b"\n\n", ".deployd/irreversible exists and gives no reason"),
        (b" \x1b[31mred\x07 alert \xff\n", "[31mred alert \N{REPLACEMENT CHARACTER}"),
        (b"x" * 5000, "x" * 1024),
    ],
)
def test_the_mark_gives_the_reason(tmp_path: Path, text: bytes, reason: str) -> None:
    assert irreversible(str(tmp_path)) == ""
    (tmp_path / ".deployd").mkdir()
    assert irreversible(str(tmp_path)) == ""
    (tmp_path / ".deployd/irreversible").write_bytes(text)
    assert irreversible(str(tmp_path)) == reason


def test_a_mark_that_cannot_be_read_counts(tmp_path: Path) -> None:
    mark = tmp_path / ".deployd/irreversible"
    mark.mkdir(parents=True)
    assert irreversible(str(tmp_path)) == f"{mark} exists but is not a file"
    mark.rmdir()
    os.mkfifo(mark)
    assert irreversible(str(tmp_path)) == f"{mark} exists but is not a file"
    mark.unlink()
    mark.symlink_to("/etc/passwd")
    assert irreversible(str(tmp_path)).startswith(f"{mark} exists but cannot be read: ")


def test_siblings_are_directories_alongside_existing_releases(tmp_path: Path) -> None:
    family = tmp_path / "releases"
    known = [make(family / name) for name in ("v1", "v2", "v3")]
    (family / ".hidden").mkdir()
    (family / "current").symlink_to("v2")
    (family / "notes.txt").write_text("")
    assert siblings([str(known[0])]) == [str(path) for path in known]
    assert siblings([str(family / "gone")]) == []
    assert siblings([str(tmp_path / "gone/v1")]) == []
    assert siblings(["/usr", "/usr/bin", "/"]) == []


def test_no_part_of_the_mark_may_be_a_symlink(tmp_path: Path) -> None:
    """The daemon reads the mark as root and shows its first line to everybody."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "irreversible").write_text("only for root\n")
    release = make(tmp_path / "v1")
    (release / ".deployd").symlink_to(secret)
    assert irreversible(str(release)) == (
        f"{release}/.deployd/irreversible exists but cannot be read: {release}/.deployd is a symlink"
    )
    (release / ".deployd").unlink()
    (release / ".deployd").write_text("unrelated")
    assert irreversible(str(release)) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="gives links to another user")
def test_a_new_symlink_must_be_roots(tmp_path: Path) -> None:
    release, app = make(tmp_path / "moved"), parse()
    link = tmp_path / "v1"
    link.symlink_to(release)
    assert missing(app, str(link)) == ""
    assert is_there(str(link))
    os.lchown(link, NOBODY, NOBODY)
    assert missing(app, str(link)) == f"the release {link} is gone ({link} is now a symlink of user nobody)"
    assert not is_there(str(link))
    assert siblings([f"{link}/x"]) == []


@pytest.mark.skipif(os.getuid() != 0, reason="gives links to another user")
def test_a_symlink_leads_only_where_its_owner_may_go(tmp_path: Path) -> None:
    """Otherwise the sentence would reveal which paths exist in a directory that the owner may not search."""
    for directory in tmp_path.parents:
        if directory.stat().st_uid == 0 and directory != Path("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o111)
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    make(closed / "v1")
    closed.chmod(0o700)
    release, app = make(tmp_path / "v1"), parse()
    current, program = tmp_path / "current", release / "bin/web"
    for target in ("v1", "nothing"):
        current.unlink(missing_ok=True)
        program.unlink(missing_ok=True)
        current.symlink_to(closed / target)
        program.symlink_to(closed / target / "bin/web")
        assert resolves(app, str(current)) == (
            ""
            if target == "v1"
            else f"the release {current} cannot be used: No such file or directory; name a directory that exists"
        )
        for link in (current, program):
            os.lchown(link, NOBODY, NOBODY)
        reason = f"a symlink of user nobody leads into {closed}, closed to that user"
        assert resolves(app, str(current)) == (
            f"the release {current} cannot be used: {reason}; name a directory that exists"
        )
        assert resolves(app, str(release)) == (
            f"exec of web names {program}, which cannot be run: {reason}; correct exec or the release"
        )
    os.chown(closed, NOBODY, NOBODY)
    assert "No such file" in resolves(app, str(current))


def resolves(app: App, release: str) -> str:
    try:
        resolve_release(app, release)
    except Refused as refused:
        return str(refused)
    return ""


def test_names_of_siblings_are_escaped(tmp_path: Path) -> None:
    family = tmp_path / "releases"
    known = make(family / "v1")
    for name in (b"v\xe9", b"v\n2", "vé".encode()):
        Path(os.fsdecode(os.fsencode(family) + b"/" + name)).mkdir()
    assert siblings([str(known)]) == [f"{family}/{name}" for name in ("v\\n2", "v1", "vé", "v\\xe9")]
