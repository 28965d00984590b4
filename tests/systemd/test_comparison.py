"""Comparison of the mirror with the list of units: which units are read again after a daemon-reload."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployd.systemd import comparison
from deployd.systemd.comparison import Comparison, UnitState, differs

UP: dict[str, Any] = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Job": [0, "/"]}
DOWN: dict[str, Any] = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "Job": [0, "/"]}


@pytest.mark.parametrize(
    ("mirror", "listed", "expected"),
    [
        (UP, UnitState("loaded", "active", "running", 0), False),
        (UP, UnitState("loaded", "active", "running", 7), False),
        (UP, UnitState("loaded", "activating", "auto-restart", 0), True),
        (UP, UnitState("masked", "active", "running", 0), True),
        (UP, None, True),
        (DOWN, None, False),
        (DOWN, UnitState("loaded", "inactive", "dead", 0), False),
        (DOWN, UnitState("loaded", "inactive", "dead", 7), True),
        ({}, UnitState("loaded", "active", "running", 0), True),
        ({}, None, True),
    ],
)
def test_units_that_differ_are_found(mirror: dict[str, Any], listed: UnitState | None, expected: bool) -> None:
    assert differs(mirror, listed) is expected


@pytest.mark.parametrize(
    ("apps", "patterns"), [(2, ["app0.service", "app0@*.service", "app1.service", "app1@*.service"]), (100, [])]
)
def test_all_apps_are_compared_with_one_list(apps: int, patterns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After three reloads in a row; one unit is read again, which differs."""
    monkeypatch.setattr(comparison, "LAG", 0.0)
    names = [f"app{app}{suffix}.service" for app in range(apps) for suffix in ("", "@1", "@2")]
    listed = dict.fromkeys(names, UnitState("loaded", "active", "running", 0))
    listed["app1@2.service"] = UnitState("loaded", "failed", "failed", 0)
    asked: list[list[str]] = []
    read: list[str] = []

    async def work() -> None:
        done = asyncio.Event()

        async def states(wanted: list[str]) -> dict[str, UnitState]:
            asked.append(wanted)
            return listed

        async def read_again(unit: str) -> None:
            read.append(unit)
            done.set()

        compared = Comparison(dict.fromkeys(names, UP), states, read_again)
        for _ in range(3):
            compared.begin()
        await asyncio.wait_for(done.wait(), 30)

    asyncio.run(work())
    assert asked == [patterns]
    assert read == ["app1@2.service"]
