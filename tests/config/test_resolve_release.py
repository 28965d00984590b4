"""The release directory that a rollout uses, and the programs that must be in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployd import config
from deployd.errors import InvalidRequest, Refused
from tests.config.app_text import parse


def release(tmp_path: Path, name: str = "v1") -> Path:
    directory = tmp_path / name
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/web").write_text("")
    (directory / "bin/web").chmod(0o755)
    return directory


def test_a_symlink_is_resolved_to_its_directory(tmp_path: Path) -> None:
    directory = release(tmp_path)
    (tmp_path / "current").symlink_to("v1")
    app = parse(release=f'"{tmp_path}/current"')
    assert config.resolve_release(app) == os.path.realpath(directory)
    other = release(tmp_path, "v2")
    assert config.resolve_release(app, str(other)) == os.path.realpath(other)


def test_unusable_releases_are_refused(tmp_path: Path) -> None:
    app = parse(release=f'"{tmp_path}/missing"')
    with pytest.raises(Refused, match="missing cannot be used: No such file or directory; name a directory that"):
        config.resolve_release(app)
    with pytest.raises(InvalidRequest, match='the release "v1" is not an absolute path; start it with /'):
        config.resolve_release(app, "v1")
    with pytest.raises(Refused, match="cannot be used: embedded null byte"):
        config.resolve_release(app, "/\0")
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="file is not a directory"):
        config.resolve_release(app, str(tmp_path / "file"))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Refused, match="Too many levels of symbolic links"):
        config.resolve_release(app, str(tmp_path / "loop"))
    with pytest.raises(Refused, match="its path must not contain the control character"):
        config.resolve_release(app, str(release(tmp_path, "a\nb")))
    undecodable = tmp_path / os.fsdecode(b"\xff")
    release(undecodable)
    with pytest.raises(Refused, match="its path is not UTF-8; rename it"):
        config.resolve_release(app, str(undecodable / "v1"))


def test_the_program_must_exist_and_be_executable(tmp_path: Path) -> None:
    directory = release(tmp_path)
    (directory / "bin/web").chmod(0o644)
    with pytest.raises(Refused, match=r"exec of web names .*/v1/bin/web, which is not an executable file"):
        config.resolve_release(parse(), str(directory))
    (directory / "bin/web").unlink()
    with pytest.raises(Refused, match=r"exec of web names .*/v1/bin/web, which does not exist"):
        config.resolve_release(parse(), str(directory))
    with pytest.raises(Refused, match="names /nonexistent/python, which does not exist"):
        config.resolve_release(parse(exec='["/nonexistent/python"]'), str(directory))
