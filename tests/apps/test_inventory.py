"""What `deployd releases` finds on a disk that two apps share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.apps.app_files import AppFiles
from deployd.apps.caller import Caller
from deployd.apps.inventory import Inventory
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.config.contents import contents
from deployd.config.release import resolve_release
from deployd.errors import DeploydError, NoSuchApp
from deployd.model.app import App
from deployd.model.delivery import Delivery
from deployd.model.generation import Result
from deployd.state.history import History
from deployd.state.pins import Pins
from tests.state.four_rollouts import SETTINGS, generation

ROOT, NOBODY = Caller(":1.1", 0), Caller(":1.2", 65534, frozenset({65534}))


class Site:
    """Releases below `home`, and a registry of the apps that were deployed from them."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "releases"
        self.home.mkdir()
        self.history, self.pins = History(directory), Pins(directory)
        self.history.open()
        self.files: dict[str, App] = {}
        self.registry = create_autospec(Registry, instance=True)
        self.registry.names.side_effect = lambda: sorted({*self.history.apps(), *self.files})
        self.registry.known.return_value = None
        self.app_files = create_autospec(AppFiles, instance=True)
        self.app_files.releases.side_effect = self._releases
        self.app_files.each.side_effect = self._each
        self.app_files.load.side_effect = self._load
        self.app_files.names = self.files.keys()
        self.app_files.path.side_effect = lambda name: directory / f"{name}.toml"
        (directory / "cron.toml").touch(mode=0o600)

    async def _releases(self) -> dict[str, str | DeploydError]:
        return {name: _resolved(app) for name, app in self.files.items()}

    async def _load(self, name: str, _: object) -> App:
        if name not in self.files:
            raise NoSuchApp(f"no app {name}")
        return self.files[name]

    async def _each(self, read: Callable[[Path], bool]) -> dict[str, bool]:
        return {name: read(self.app_files.path(name)) for name in self.files}

    def release(self, name: str) -> str:
        path = self.home / name
        path.mkdir(exist_ok=True)
        (path / "app.py").write_text(name)
        os.utime(path / "app.py", (1000, 1000))
        return str(path)

    def deploy(self, app: str, number: int, release: str, instances: int = 0) -> None:
        settings = replace(SETTINGS, name=app)
        made = replace(
            generation(number, Result.SUCCEEDED, app),
            release=self.release(release),
            settings=settings,
            contents=contents(str(self.home / release), settings).digest,
        )
        self.history.deployed(made)
        self.pins.write_generation(app, number, {}, made.release)
        for instance in range(1, instances + 1):
            self.pins.pin(app, instance, number)

    def releases(self, app: str, caller: Caller = ROOT) -> dict[str, dict[str, Any]]:
        inventory = Inventory(self.registry, self.app_files, ReaderPool(), self.history, self.pins)
        answer = asyncio.run(inventory.releases(caller, app))
        return {os.path.relpath(item["release"], self.home): item for item in answer["releases"]}


def _resolved(app: App) -> str | DeploydError:
    try:
        return resolve_release(app)
    except DeploydError as error:
        return error


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.history.close()


def test_what_another_app_needs_is_not_free(site: Site) -> None:
    for number in range(1, 14):
        site.deploy("demo", number, f"v{number}", instances=2)
    site.deploy("worker", 1, "v1", instances=1)
    (site.home / "current").symlink_to("v2")
    site.files["cron"] = replace(SETTINGS, name="cron", release=str(site.home / "current"))
    found = site.releases("demo")
    assert {name: item["state"] for name, item in found.items()} == {
        "v13": "running",
        **{f"v{number}": "kept" for number in range(12, 3, -1)},
        "v3": "free",
        "v2": "kept",
        "v1": "kept",
    }
    assert (found["v1"]["why"], found["v2"]["why"]) == ("worker needs it", "cron needs it")
    assert site.releases("worker")["v13"]["why"] == "demo needs it"


def test_changes_are_reported_for_releases_that_are_needed(site: Site) -> None:
    for number in range(1, 13):
        site.deploy("demo", number, f"v{number}", instances=1)
    for name in ("v1", "v11", "v12"):
        (site.home / name / "app.py").write_text("changed")
    found = site.releases("demo")
    assert [name for name, item in found.items() if item["changed"]] == ["v12", "v11"]
    assert "app.py was changed on 2" in found["v11"]["why"]
    assert found["v10"]["why"] == "deployd rollback demo --to 10 is possible"


def test_the_app_file_says_how_many_releases_stay(site: Site) -> None:
    for number in range(1, 6):
        site.deploy("demo", number, f"v{number}", instances=1)
    kept = {name for name, item in site.releases("demo").items() if item["state"] != "free"}
    assert len(kept) == 5
    site.files["demo"] = replace(SETTINGS, delivery=Delivery(keep=2), release=str(site.home / "v5"))
    kept = {name for name, item in site.releases("demo").items() if item["state"] != "free"}
    assert kept == {"v5", "v4"}


def test_an_app_with_a_file_only(site: Site) -> None:
    site.files["demo"] = replace(SETTINGS, release=site.release("v1"))
    assert site.releases("demo")["v1"]["why"] == "the app file names it"
    site.files["demo"] = replace(SETTINGS, release=str(site.home / "gone"))
    assert site.releases("demo") == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="closes a directory to others")
def test_other_users_see_the_directories_that_they_can_list(site: Site) -> None:
    for directory in (site.home.parent, *list(site.home.parents)[1:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    for number in range(1, 13):
        site.deploy("demo", number, f"v{number}", instances=1)
    site.release("sibling")
    (site.home / "v11" / "app.py").write_text("changed")
    found = site.releases("demo", NOBODY)
    assert found["v11"]["changed"]
    assert "app.py" not in found["v11"]["why"]
    assert found["sibling"]["state"] == "unknown"
    assert found["v1"]["deletable"]
    site.files["cron"] = replace(SETTINGS, name="cron", release=str(site.home / "v2"))
    found = site.releases("demo", NOBODY)
    assert [found[name]["deletable"] for name in ("v1", "v2")] == [False, False], "the file of cron is secret"
    assert found["v1"]["why"] == found["v2"]["why"]
    site.home.chmod(0o711)
    (site.home / "v3").rename(site.home / "elsewhere")
    found = site.releases("demo", NOBODY)
    assert set(found) == {f"v{number}" for number in range(1, 13)}, "no other directory is listed"
    assert len({(item["state"], item["why"], item["changed"], item["deletable"]) for item in found.values()}) == 1
    site.home.chmod(0o755)
