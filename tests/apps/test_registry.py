"""Which apps exist: those with a file, and those with a history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from deployd.apps.app_files import AppFiles
from deployd.apps.registry import Registry
from deployd.errors import NoSuchApp
from deployd.files.workers import Workers
from deployd.model.rollout import Phase, Rollout
from deployd.rollout.controller import Controller


def controller(name: str, application: str = "") -> Controller:
    """Return the controller of an app, or of a process type of one."""
    made: Controller = create_autospec(Controller, instance=True)
    made.name, made.application, made.rollout = name, application or name, None  # type: ignore[misc]
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry of an app with a file and one with a history."""
    (tmp_path / "filed.toml").touch()
    made = Registry(AppFiles(tmp_path, Workers()))
    made.add("deployed", controller("deployed"))
    return made


def test_apps_with_a_file_or_a_history_are_known(registry: Registry) -> None:
    assert asyncio.run(registry.listed()) == registry.names() == ["deployed", "filed"]
    assert registry.known("deployed") is registry.controller("deployed") is not None
    assert registry.known("filed") is None
    assert registry.drop("deployed") is not None
    with pytest.raises(NoSuchApp, match=r"there is no app deployed: no /.*/deployed\.toml and no history of it"):
        registry.known("deployed")


def test_a_new_file_is_found(registry: Registry, tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(NoSuchApp):
            await registry.find("new")
        (tmp_path / "new.toml").touch()
        await registry.find("new")
        assert "new" in registry.names()

    asyncio.run(test())


def test_an_invalid_name_is_not_quoted(registry: Registry) -> None:
    assert "x/" not in str(registry.unknown("x/" * 1000))


def test_each_phase_of_a_rollout_differs(registry: Registry) -> None:
    made = controller("demo")
    registry.add("demo", made)
    phases = []
    for rollout in (None, Rollout("demo", 1, 2), Rollout("demo", 1, 2, phase=Phase.PAUSED), Rollout("demo", 1, 3)):
        made.rollout = rollout  # type: ignore[misc]
        phases.append(registry.phase("demo"))
        assert registry.phase("demo") == phases[-1]
    assert len(set(phases)) == len(phases)
    assert registry.phase("filed") is None


def test_a_process_type_is_no_app(registry: Registry) -> None:
    worker = controller("deployed.worker", "deployed")
    registry.add("deployed.worker", worker)
    assert asyncio.run(registry.listed()) == ["deployed", "filed"]
    assert [item.name for item in registry.members("deployed")] == ["deployed", "deployed.worker"]
    assert registry.controller("deployed.worker") is worker
    with pytest.raises(NoSuchApp):
        registry.known("deployed.worker")
    worker.rollout = Rollout("deployed.worker", 1, 2)  # type: ignore[misc]
    assert registry.rollout("deployed") is worker.rollout
