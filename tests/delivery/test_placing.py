"""A release appears under its name as a whole, once; a source that fails leaves nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery.links import Link
from deployd_cli.delivery.placing import place, point


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "serve").write_text("#!/bin/sh")
    (directory / "bin" / "serve").chmod(0o700)
    return directory


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    (tmp_path / "releases").mkdir()
    return tmp_path / "releases"


def test_the_same_files_are_the_same_release(source: Path, releases: Path) -> None:
    first = place(str(source), "", releases, "")
    assert (first.new, len(first.path.name), first.path.parent) == (True, 12, releases)
    assert (first.path.stat().st_mode & 0o777, (first.path / "bin" / "serve").stat().st_mode & 0o777) == (0o755, 0o755)
    (source / "bin" / "serve").touch()
    again = place(str(source), "", releases, "")
    assert (again.path, again.sha256, again.new) == (first.path, first.sha256, False)
    (source / "more").write_text("x")
    assert place(str(source), "", releases, "").path != first.path
    assert len(list(releases.iterdir())) == 2, "and nothing temporary"


def test_a_name_that_is_taken_is_not_read_again(source: Path, releases: Path) -> None:
    assert place(str(source), "", releases, "v1").new
    placed = place("/nonexistent", "", releases, "v1")
    assert (placed.path, placed.new, placed.sha256) == (releases / "v1", False, None)


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "-x", "ä", " "])
def test_odd_names_are_refused(source: Path, releases: Path, name: str) -> None:
    with pytest.raises(Refused, match="is no name of a release"):
        place(str(source), "", releases, name)


def test_a_commit_of_a_repository(source: Path, releases: Path) -> None:
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for argv in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *argv], check=True)
    (source / "uncommitted").write_text("x")
    placed = place(str(source), "HEAD", releases, "")
    assert [path.name for path in placed.path.iterdir()] == ["bin"]
    with pytest.raises(DeploydError):
        place(str(source), "no-such-branch", releases, "")
    assert list(releases.iterdir()) == [placed.path]


def test_what_cannot_be_read_or_written_leaves_nothing(source: Path, releases: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"x" * 2000)
    for name, sentence in (("/nonexistent", "cannot be read"), (str(broken), "cannot be read"), ("empty", "is empty")):
        with pytest.raises(Refused, match=sentence):
            place(str(tmp_path / name), "", releases, "")
    with pytest.raises(DeploydError, match="name a directory that exists"):
        place(str(source), "", tmp_path / "nowhere", "")
    assert list(releases.iterdir()) == []


@pytest.mark.parametrize("which", ["releases", "parent"])
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_root_writes_nothing_where_another_user_could_interfere(
    source: Path, releases: Path, which: str, how: str
) -> None:
    """That user could have root write through a link."""
    directory = releases if which == "releases" else releases.parent
    if how == "owner":
        os.chown(directory, 12345, 0)
    else:
        directory.chmod(0o777)
    with pytest.raises(Refused, match=f"{directory} can be changed by another user than root; deploy as that user"):
        place(str(source), "", releases, "")
    assert list(releases.iterdir()) == []


def test_an_empty_directory_is_no_release(source: Path, releases: Path) -> None:
    (releases / "v1").mkdir()
    assert place(str(source), "", releases, "v1", (Link("log", "/srv/shared/log"),)).new
    assert sorted(path.name for path in (releases / "v1").iterdir()) == ["bin", "log"]
    assert (releases / "v1" / "log").readlink() == Path("/srv/shared/log")


def test_others_can_read_a_release_whatever_the_umask(source: Path, releases: Path) -> None:
    before = os.umask(0o077)
    try:
        placed = place(str(source), "", releases, "v1")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (placed.path, placed.path / "bin")} == {0o755}


def test_a_link_is_moved_and_nothing_else_is_replaced(releases: Path) -> None:
    link = releases / "current"
    point(link, releases / "v1")
    point(link, releases / "v2")
    assert link.readlink() == releases / "v2"
    (releases / "file").touch()
    with pytest.raises(Refused, match="is no symbolic link"):
        point(releases / "file", releases / "v1")
    assert sorted(path.name for path in releases.iterdir()) == ["current", "file"]
