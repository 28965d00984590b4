"""Releases that a user may name, and what the user may learn about them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from deployd.apps.caller import Caller
from deployd.apps.release_access import agreed, seen, seen_release
from deployd.apps.release_access import directory as directory_of
from deployd.errors import AccessDenied, InvalidRequest, Refused
from deployd.model.delivery import Delivery
from tests.state.four_rollouts import SETTINGS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes directories private")

ROOT, NOBODY = Caller(":1.1", 0), Caller(":1.2", 65534, frozenset({65534}))
APP = replace(SETTINGS, exec=("./run",))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make releases v1 and v2, and a release in a directory that the user nobody cannot list."""
    for directory in (tmp_path, *list(tmp_path.parents)[:-2]):
        if directory.stat().st_uid == 0:
            directory.chmod(directory.stat().st_mode | 0o011)
    for path in ("releases/v1", "releases/v2", "elsewhere/v9", "closed/v1"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "run").touch(mode=0o755)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "current").symlink_to("releases/v1")
    return tmp_path


def refusal(kind: type[Exception], work: Callable[[], object]) -> str:
    with pytest.raises(kind) as refused:
        work()
    return str(refused.value)


def test_the_error_for_a_hidden_release_does_not_say_whether_it_exists(place: Path) -> None:
    def error(path: str) -> str:
        whole = f"{place}/{path}"
        return refusal(AccessDenied, lambda: seen(NOBODY, APP, whole)).replace(whole, "PATH")

    (place / "into").symlink_to(place / "closed" / "v1")
    (place / "nowhere").symlink_to(place / "closed" / "none")
    (place / "closed" / "file").touch()
    (place / "releases" / "secret").mkdir(mode=0o711)
    hidden = ("closed/v1", "closed/none", "closed/none/deeper", "closed/file", "into", "nowhere", "releases/secret")
    assert len({error(path) for path in hidden}) == 1
    assert seen(ROOT, APP, str(place / "closed" / "v1"))[0] == str(place / "closed" / "v1")


def test_only_who_can_list_it_learns_where_a_release_leads(place: Path) -> None:
    (place / "into").symlink_to(place / "closed" / "v1")
    for link, seen_by_all in (("current", f"{place}/releases/v1"), ("into", ""), ("none", "")):
        app = replace(APP, release=f"{place}/{link}")
        assert directory_of(NOBODY, app) == seen_by_all
    assert directory_of(ROOT, replace(APP, release=f"{place}/into")) == f"{place}/closed/v1"


def test_a_user_sees_releases_that_it_can_list(place: Path) -> None:
    assert seen(NOBODY, APP, str(place / "current"))[0] == str(place / "releases" / "v1")
    assert seen(NOBODY, APP, f"{place}/current") == seen(ROOT, APP, f"{place}/current")
    assert seen_release(NOBODY, replace(APP, release=str(place / "current"))) == str(place / "releases" / "v1")
    assert "No such file" in refusal(Refused, lambda: seen(NOBODY, APP, str(place / "none")))
    assert "Not a directory" in refusal(Refused, lambda: seen(NOBODY, APP, str(place / "releases/v1/run")))
    (place / "releases/v2/run").chmod(0o644)
    assert "not an executable file" in refusal(Refused, lambda: seen(NOBODY, APP, str(place / "releases/v2")))
    (place / "releases/v2/run").unlink()
    assert "names" in refusal(Refused, lambda: seen(NOBODY, APP, str(place / "releases/v2")))
    (place / "releases/v2/run").symlink_to(place / "closed/v1/run")
    refusal(AccessDenied, lambda: seen(NOBODY, APP, str(place / "releases/v2")))


def test_nothing_is_disclosed_about_a_release_that_is_exchanged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = str(place / "releases" / "v1")
    for found in (Refused("exec of demo names /srv/secret, which does not exist"), str(place / "closed" / "v1")):
        monkeypatch.setattr("deployd.config.resolve_release", Mock(side_effect=[found]))
        assert "secret" not in refusal(AccessDenied, lambda: seen(NOBODY, APP, release))
    assert agreed(NOBODY, replace(APP, release=release), [], release) == release


@pytest.mark.parametrize("release", ["", "relative", "/a\0b", "/a\nb", "/x/../etc", "/" + "x" * 10_000, "/\udcff"])
def test_an_invalid_path_is_refused(release: str) -> None:
    for call in (lambda: seen(NOBODY, APP, release), lambda: agreed(NOBODY, APP, [], release)):
        assert len(refusal(InvalidRequest, call)) < 2000


def test_a_release_in_another_directory_needs_root(place: Path) -> None:
    app = replace(APP, release=str(place / "current"))
    known = [str(place / "releases" / "v1")]

    def allowed(path: str) -> str:
        return agreed(NOBODY, app, known, str(place / path))

    assert agreed(NOBODY, app, known, None) == str(place / "releases" / "v1")
    assert allowed("releases/v2") == str(place / "releases" / "v2")
    assert allowed("current") == str(place / "releases" / "v1")
    (place / "releases" / "out").symlink_to(place / "elsewhere" / "v9")
    (place / "in").symlink_to(place / "releases" / "v2")
    assert allowed("in") == str(place / "releases" / "v2")
    for outside in ("elsewhere/v9", "releases/out", "closed/v1", "closed/none", "elsewhere/none", "releases", ""):
        text = refusal(AccessDenied, partial(allowed, outside))
        assert f"{place / outside} lies outside" in text
        assert "as root" in text
    (place / "closed" / "in").symlink_to(place / "releases" / "v2")
    refusal(AccessDenied, lambda: allowed("closed/in"))
    (place / "closed").chmod(0o711)
    assert allowed("closed/in") == str(place / "releases" / "v2")


def test_the_directory_of_releases_in_the_app_file_is_one(place: Path) -> None:
    app = replace(APP, release=str(place / "elsewhere" / "v9"))
    wanted = str(place / "releases" / "v2")
    refusal(AccessDenied, lambda: agreed(NOBODY, app, [], wanted))
    app = replace(app, delivery=Delivery(releases=str(place / "releases")))
    assert agreed(NOBODY, app, [], wanted) == wanted


def test_directories_in_the_root_directory_are_not_siblings_of_a_release() -> None:
    app = replace(APP, release="/app-that-is-not-there")
    assert agreed(NOBODY, app, [], None) == app.release
    assert agreed(NOBODY, app, [], app.release) == app.release
    refusal(AccessDenied, lambda: agreed(NOBODY, app, [], "/etc"))
