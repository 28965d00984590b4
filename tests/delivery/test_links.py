"""Shared paths of a release are links, made through no link of the release."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery.links import Link, links, make, require_targets

PATHS = ("log", "public/uploads", "config/master.key")


def test_a_link_leads_to_its_path_in_the_shared_directory() -> None:
    assert links(PATHS[:2], "/srv/shop/shared") == (
        Link("log", "/srv/shop/shared/log"),
        Link("public/uploads", "/srv/shop/shared/public/uploads"),
    )


def test_links_are_made_once_in_place_of_what_the_release_has(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / ".keep").touch()
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "uploads").symlink_to("elsewhere")
    wanted = links(PATHS, "/srv/shop/shared")
    make(tmp_path, wanted)
    before = {link.path: (tmp_path / link.path).lstat().st_ino for link in wanted}
    make(tmp_path, wanted)
    assert {link.path: str((tmp_path / link.path).readlink()) for link in wanted} == {
        link.path: link.target for link in wanted
    }
    assert {link.path: (tmp_path / link.path).lstat().st_ino for link in wanted} == before


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    wanted = links(PATHS, str(tmp_path))
    with pytest.raises(Refused) as refused:
        require_targets(wanted, "www-data")
    assert str(refused.value) == (
        f"{tmp_path}/public/uploads, {tmp_path}/config/master.key of [deploy] shared do not exist; make a file or a"
        f" directory that the app can use, as with: install -d -o www-data {tmp_path}/public/uploads"
    )
    require_targets(wanted[:1], "")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "uploads").symlink_to("/nonexistent")
    require_targets(wanted[:2], "")  # a link of the app is not followed


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_of_the_release_is_not_followed(tmp_path: Path, kind: str) -> None:
    release, outside = tmp_path / "release", tmp_path / "outside"
    release.mkdir()
    (outside / "uploads").mkdir(parents=True)
    if kind == "link":
        (release / "public").symlink_to(outside)
    else:
        (release / "public").touch()
    with pytest.raises(Refused, match=r"public/uploads of \[deploy\] shared lies behind a file or a link"):
        make(release, links(PATHS[1:2], "/srv/shop/shared"))
    assert [path.name for path in outside.iterdir()] == ["uploads"]


NAMES = st.sampled_from(["a", "b", "c"])
INNER = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ENTRIES = st.lists(st.tuples(st.sampled_from(["file", "directory", "link"]), INNER, INNER), max_size=6)


@settings(max_examples=200)
@given(ENTRIES, st.lists(INNER, max_size=4))
def test_whatever_a_release_has_nothing_is_changed_outside(
    entries: list[tuple[str, str, str]], shared: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as around:
        outside, release = Path(around) / "outside", Path(around) / "release"
        (outside / "a" / "b").mkdir(parents=True)
        release.mkdir()
        for kind, name, target in entries:
            path = release / name
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                if Path(os.path.realpath(path.parent)).is_relative_to(release.resolve()):
                    if kind == "link":
                        path.symlink_to(outside / target)
                    elif kind == "file":
                        path.touch()
                    else:
                        path.mkdir()
        before = sorted(outside.rglob("*"))
        wanted = links(shared, f"{around}/shared")
        with contextlib.suppress(DeploydError):
            make(release, wanted)
            for link in wanted:
                if not any(link.path.startswith(f"{other}/") for other in shared):
                    assert str((release / link.path).readlink()) == link.target
        assert sorted(outside.rglob("*")) == before
