"""What a release directory says of itself and what is missing from it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.config.release import irreversible, is_there, missing, siblings
from tests.unit.app_text import parse


def make(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "bin/web").write_text("")
    (path / "bin/web").chmod(0o755)
    return path


def test_missing_names_what_is_gone(tmp_path: Path) -> None:
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
    assert missing(app, str(release)) == f"the release {release} is not a directory any more"
    assert not is_there(str(release))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"drops the column price\nsecond line\n", "drops the column price"),
        (b"", ".deployd/irreversible is there, and gives no reason"),
        (b"\n\n", ".deployd/irreversible is there, and gives no reason"),
        (b" \x1b[31mred\x07 alert \xff\n", "[31mred alert \N{REPLACEMENT CHARACTER}"),
        (b"x" * 5000, "x" * 1024),
    ],
)
def test_a_release_says_that_there_is_no_way_back(tmp_path: Path, text: bytes, reason: str) -> None:
    assert irreversible(str(tmp_path)) == ""
    (tmp_path / ".deployd").mkdir()
    assert irreversible(str(tmp_path)) == ""
    (tmp_path / ".deployd/irreversible").write_bytes(text)
    assert irreversible(str(tmp_path)) == reason


def test_a_mark_that_cannot_be_read_is_a_mark(tmp_path: Path) -> None:
    mark = tmp_path / ".deployd/irreversible"
    mark.mkdir(parents=True)
    assert irreversible(str(tmp_path)) == f"{mark} is there, but is not a file"
    mark.rmdir()
    os.mkfifo(mark)
    assert irreversible(str(tmp_path)) == f"{mark} is there, but is not a file"
    mark.unlink()
    mark.symlink_to("/etc/passwd")
    assert irreversible(str(tmp_path)).startswith(f"{mark} is there, but cannot be read: ")


def test_siblings_are_directories_beside_real_releases(tmp_path: Path) -> None:
    family = tmp_path / "releases"
    known = [make(family / name) for name in ("v1", "v2", "v3")]
    (family / ".hidden").mkdir()
    (family / "current").symlink_to("v2")
    (family / "notes.txt").write_text("")
    assert siblings([str(known[0])]) == [str(path) for path in known]
    assert siblings([str(family / "gone")]) == []
    assert siblings([str(tmp_path / "gone/v1")]) == []
    assert siblings(["/usr", "/usr/bin", "/"]) == []
