"""Assets of all releases that are there are in one directory, and no file of another is touched."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd_cli.delivery.assets import LOCK, RECORD, Assets, missing, obsolete

PATH = "public/assets"


class Site:
    """Releases and the directory of what they share."""

    def __init__(self, home: Path) -> None:
        self.releases, self.shared = home / "releases", home / "shared"
        self.releases.mkdir()
        self.shared.mkdir()
        self.assets = Assets(PATH, self.shared)

    def release(self, name: str, files: dict[str, str]) -> Path:
        for path, text in files.items():
            file = self.releases / name / PATH / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (self.releases / name).mkdir(exist_ok=True)
        return self.releases / name

    def merged(self) -> dict[str, str]:
        found = (path for path in self.assets.directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self.assets.directory)): path.read_text() for path in found}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_old_assets_stay_until_their_release_is_deleted(site: Site) -> None:
    first = site.release("v1", {"app-1.js": "one", "img/logo.png": "logo"})
    second = site.release("v2", {"app-2.js": "two", "img/logo.png": "logo"})
    assert (site.assets.merge(first), site.assets.finish(first)) == (2, 0)
    assert site.assets.merge(second) == 1
    both = {"app-1.js": "one", "app-2.js": "two", "img/logo.png": "logo"}
    assert site.merged() == both
    assert site.assets.finish(second) == 0
    assert site.merged() == both
    shutil.rmtree(first)
    assert site.assets.finish(second) == 1
    assert site.merged() == {"app-2.js": "two", "img/logo.png": "logo"}


def test_a_name_without_a_hash_changes_when_its_release_is_live(site: Site) -> None:
    site.assets.merge(first := site.release("v1", {"app.js": "one"}))
    site.assets.finish(first)
    site.assets.merge(second := site.release("v2", {"app.js": "two"}))
    assert site.merged() == {"app.js": "one"}, "old pages are served"
    site.assets.finish(second)
    assert site.merged() == {"app.js": "two"}
    info, source = ((path / "app.js").stat() for path in (site.assets.directory, second / PATH))
    assert (info.st_mtime_ns, info.st_mode & 0o777) == (source.st_mtime_ns, 0o644)


def test_files_of_others_are_neither_replaced_nor_removed(site: Site) -> None:
    site.assets.directory.mkdir(parents=True)
    (site.assets.directory / "app.js").write_text("theirs")
    release = site.release("v1", {"app.js": "ours", "b.js": "ours"})
    assert site.assets.merge(release) == 1
    site.assets.finish(release)
    assert site.merged() == {"app.js": "theirs", "b.js": "ours"}
    shutil.rmtree(release / PATH)
    assert site.assets.finish(release) == 1
    assert site.merged() == {"app.js": "theirs"}
    (site.shared / RECORD).write_text("{")  # torn
    assert site.assets.finish(release) == 0
    for name in (RECORD, LOCK):
        assert (site.shared / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("where", ["public", "public/assets", "public/assets/secret"])
def test_no_link_of_a_release_is_followed(site: Site, tmp_path: Path, where: str) -> None:
    (tmp_path / "outside" / "assets").mkdir(parents=True)
    (tmp_path / "outside" / "assets" / "key").write_text("secret")
    (tmp_path / "outside" / "key").write_text("secret")
    release = site.release("v1", {})
    (release / where).parent.mkdir(parents=True, exist_ok=True)
    (release / where).symlink_to(tmp_path / "outside")
    os.mkfifo(release / "fifo")
    assert site.assets.merge(release) == 0
    assert site.merged() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to another user")
@pytest.mark.parametrize("which", ["shared", "public", "public/assets"])
def test_the_app_must_not_own_the_directory(site: Site, which: str) -> None:
    site.assets.require_own()
    site.assets.directory.mkdir(parents=True)
    theirs = site.shared if which == "shared" else site.shared / which
    os.chown(theirs, 12345, 0)
    with pytest.raises(Refused, match=rf"{theirs}, for assets of \[deploy\], can be changed by another user"):
        site.assets.require_own()


SETS = st.frozensets(st.sampled_from("abcd"))


@given(SETS, SETS)
def test_what_is_missing_is_there_afterwards(new: frozenset[str], present: frozenset[str]) -> None:
    todo = missing(new, present)
    assert todo | present >= new
    assert not todo & present


@given(SETS, st.lists(SETS, max_size=3))
def test_what_a_kept_release_has_is_not_obsolete(recorded: frozenset[str], kept: list[frozenset[str]]) -> None:
    todo = obsolete(recorded, kept)
    assert todo <= recorded
    assert not any(todo & item for item in kept)
    assert recorded - todo <= frozenset().union(*kept)


NAMES = st.sampled_from(["a.js", "b/c.js", "b/d.js", "e"])
STEPS = st.lists(st.tuples(st.sampled_from(["deploy", "fail", "delete"]), st.integers(1, 3), st.frozensets(NAMES)))


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_every_release_that_is_there_and_was_live_has_its_assets(steps: list[tuple[str, int, frozenset[str]]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        site, live = Site(Path(home)), ""
        for step, number, names in steps:
            name = f"v{number}"
            if step == "delete":
                if name != live:
                    shutil.rmtree(site.releases / name, ignore_errors=True)
                continue
            if not (site.releases / name).exists():
                site.release(name, dict.fromkeys(names, "same"))
            site.assets.merge(site.releases / name)
            if step == "deploy":
                live = name
                site.assets.finish(site.releases / name)
            there: set[str] = set()
            for release in site.releases.iterdir():
                there |= {
                    str(path.relative_to(release / PATH)) for path in (release / PATH).rglob("*") if path.is_file()
                }
            assert there <= site.merged().keys()
            if step == "deploy":
                assert site.merged().keys() == there
                assert json.loads((site.shared / RECORD).read_text()) == {PATH: sorted(there)}
