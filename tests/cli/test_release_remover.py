"""Releases are deleted as a whole, and nothing else is."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from deployd.errors import DeploydError
from deployd_cli.release_remover import delete


def release(parent: Path, name: str = "v1") -> Path:
    path = parent / name
    (path / "lib").mkdir(parents=True)
    (path / "lib" / "app.py").write_text("code")
    return path


def test_a_release_is_deleted_with_what_an_interrupted_deletion_has_left(tmp_path: Path) -> None:
    path, other = release(tmp_path), release(tmp_path, "v2")
    release(tmp_path, ".v1.deleted")
    outside = release(tmp_path.parent / f"{tmp_path.name}-outside")
    (path / "link").symlink_to(outside)
    delete(str(path))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["v2"]
    assert (other / "lib" / "app.py").exists()
    assert (outside / "lib" / "app.py").exists(), "a link in a release leads to what is not of it"


@pytest.mark.parametrize("link", ["parent", "release"])
def test_no_link_is_followed_to_what_is_deleted(tmp_path: Path, link: str) -> None:
    """The user who owns the directory of the releases may have replaced it since the daemon has looked."""
    target = release(tmp_path / "elsewhere")
    if link == "parent":
        (tmp_path / "releases").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "releases").mkdir()
        (tmp_path / "releases" / "v1").symlink_to(target)
    with pytest.raises(DeploydError, match="cannot be deleted"):
        delete(str(tmp_path / "releases" / "v1"))
    assert (target / "lib" / "app.py").exists()


def test_what_is_gone_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DeploydError, match=r"v1 cannot be deleted: No such file or directory"):
        delete(str(tmp_path / "v1"))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    gc.collect()  # earlier tests may have left descriptors to the garbage collector
    before = len(list(Path("/proc/self/fd").iterdir()))
    delete(str(release(tmp_path)))
    with pytest.raises(DeploydError):
        delete(str(tmp_path / "x" / "v1"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
