"""The timers of the live generation are installed, however often the daemon dies on the way to them."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.instances.timers import Timers
from deployd.model.generation import Generation, Result
from deployd.model.timer import Timer
from deployd.state.runs import Runs
from deployd.systemd.daemon_reload import DaemonReload
from deployd.units.directory import UnitDirectory
from deployd.units.text import timer_units
from deployd.units.timers import TimerUnits
from tests.state.four_rollouts import generation

APP = "demo"
NAMES = ("hourly", "nightly", "weekly")


class Died(Exception):
    """The daemon died before a call."""


class Machine:
    """What of systemd and the disk is left when the daemon dies."""

    def __init__(self, root: Path) -> None:
        self.units = UnitDirectory(root / "units", others=(), control=())
        (root / "units").mkdir()
        self.runs = Runs(root / "state")
        self.loaded: dict[str, str] = {}
        self.enabled: set[str] = set()
        self.active: set[str] = set()
        self.seen: set[str] = set()
        """Timers that were started since they were loaded."""
        self.wanted: set[str] = set()
        """What systemd knows that the app unit wants."""
        self.running: set[str] = set()
        self.up = True

    def load(self) -> None:
        self.loaded, self.wanted = self.units.timers(APP), set(self.enabled)
        self.seen &= self.loaded.keys()

    def start(self, unit: str) -> None:
        assert unit in self.units.timers(APP)
        self.active.add(unit)
        self.seen.add(unit)


class Systemd:
    """The calls of one daemon, each of which may be its last."""

    def __init__(self, machine: Machine, call: Callable[[], None]) -> None:
        self._machine = machine
        self._call = call

    async def watch(self, unit: str) -> None:
        self._call()

    def unwatch(self, unit: str) -> None:
        pass

    def properties(self, unit: str) -> dict[str, Any]:
        return {"ActiveState": "activating" if unit in self._machine.running else "inactive"}

    async def read(self, unit: str, _interface: str, _names: Iterable[str]) -> dict[str, Any]:
        self._call()
        machine = self._machine
        return {
            "Wants": machine.wanted,
            "NeedDaemonReload": machine.loaded.get(unit) not in (None, machine.units.timers(APP).get(unit)),
            "ActiveState": "active" if unit in machine.active else "inactive",
            "ActiveEnterTimestampMonotonic": int(unit in machine.seen),
            "UnitFileState": "enabled" if unit in machine.enabled else "disabled",
        }

    async def start(self, unit: str) -> asyncio.Future[str]:
        self._call()
        self._machine.start(unit)
        return _done()

    async def stop(self, unit: str) -> asyncio.Future[str]:
        self._call()
        self._machine.active.discard(unit)
        return _done()

    async def enable(self, units: list[str]) -> bool:
        self._call()
        self._machine.enabled |= set(units)
        return True

    async def disable(self, units: list[str]) -> None:
        self._call()
        self._machine.enabled -= set(units)

    async def reload(self) -> None:
        self._call()
        self._machine.load()


def _done() -> asyncio.Future[str]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("done")
    return future


def daemon(machine: Machine, dies_at: int) -> Timers:
    """Return the timers of a daemon that dies at its call of that number."""
    calls = itertools.count(1)

    def call() -> None:
        if next(calls) >= dies_at:
            raise Died

    systemd: Any = Systemd(machine, call)
    render = partial(timer_units, state_dir="/var/lib/deployd")
    units = TimerUnits(systemd, machine.units, DaemonReload(systemd.reload), machine.runs, render)
    return Timers(APP, systemd, units, up=lambda: machine.up)


def made(number: int, names: Iterable[str], user: str = "www-data") -> Generation:
    found = generation(number, Result.SUCCEEDED)
    timers = tuple(Timer(name=name, schedule=("daily",), exec=("bin/x",), user=user) for name in names)
    return replace(found, app=APP, settings=replace(found.settings, name=APP, timers=timers))


def check(machine: Machine, live: Generation) -> None:
    wanted = {unit.name: unit.text for unit in timer_units(live.settings, live.number, "/var/lib/deployd")}
    timers = {unit for unit in wanted if unit.endswith(".timer")}
    spared = {unit for unit in machine.running if unit not in wanted}
    installed = machine.units.timers(APP)
    assert {name: text for name, text in installed.items() if name not in spared} == wanted
    assert {name: machine.loaded.get(name) for name in wanted} == wanted
    assert machine.wanted == timers
    assert machine.active == timers
    assert machine.enabled == timers


@settings(max_examples=60, deadline=None)  # it writes to the disk
@given(st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.integers(1, 30)), min_size=1, max_size=6), st.data())
def test_a_daemon_that_dies_is_continued_by_the_next(steps: list[tuple[set[str], int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory, patch("os.fsync"):  # power is not lost here, and the disk is slow
        machine = Machine(Path(directory))
        for number, (names, dies_at) in enumerate(steps, 1):
            installed = [unit for unit in machine.units.timers(APP) if unit.endswith(".service")]
            machine.running = set(data.draw(st.lists(st.sampled_from(installed)))) if installed else set()
            live = made(number, sorted(names))
            for last in (dies_at, 10**6):
                try:
                    asyncio.run(daemon(machine, last).follow(live))
                except Died:
                    continue
            check(machine, live)
            machine.running = set()
            asyncio.run(daemon(machine, 10**6).follow(live))
            check(machine, live)


def test_a_removal_that_was_not_loaded_is_loaded_while_its_runs_continue(tmp_path: Path) -> None:
    machine, gone = Machine(tmp_path), made(2, ())
    asyncio.run(daemon(machine, 10**6).follow(made(1, ("hourly", "nightly"))))
    machine.running = {"demo:hourly.service", "demo:nightly.service"}
    for dies_at in range(1, 12):
        with suppress(Died):
            asyncio.run(daemon(machine, dies_at).follow(gone))
    asyncio.run(daemon(machine, 10**6).follow(gone))
    check(machine, gone)


def test_what_an_administrator_stopped_or_disabled_stays_so(tmp_path: Path) -> None:
    machine, live = Machine(tmp_path), made(1, ("hourly", "nightly"))
    asyncio.run(daemon(machine, 10**6).follow(live))
    machine.active.remove("demo:hourly.timer")
    machine.enabled.remove("demo:nightly.timer")
    machine.active.remove("demo:nightly.timer")
    machine.seen.remove("demo:nightly.timer")  # as after a boot
    asyncio.run(daemon(machine, 10**6).follow(made(2, ("hourly", "nightly", "weekly"))))
    assert machine.active == {"demo:weekly.timer"}
    assert machine.enabled == {"demo:hourly.timer", "demo:weekly.timer"}


def test_a_stopped_app_gets_its_timers_with_its_start(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.up = False
    asyncio.run(daemon(machine, 10**6).follow(made(1, ("nightly",))))
    assert (machine.active, machine.enabled) == (set(), {"demo:nightly.timer"})


@pytest.mark.parametrize("live", [None, made(1, ())])
def test_an_app_without_timers_costs_no_call(tmp_path: Path, live: Generation | None) -> None:
    asyncio.run(daemon(Machine(tmp_path), 1).follow(live))
