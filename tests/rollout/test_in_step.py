"""An app with process types, on a simulated systemd: the daemon is killed at any call, another one continues."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.model.generation import Generation, Result
from deployd.model.pace import OnFailure
from deployd.plan.transitions import Event
from deployd.rollout.controller import Controller
from deployd.rollout.events import of_process
from tests.rollout.death import Death, Died
from tests.rollout.simulated_app import DEADLINE, NAME, Faults, SimulatedApp, Systemd, quick  # noqa: F401 - a fixture
from tests.state.four_rollouts import generation

TYPES = ("worker", "clock")
NAMES = (NAME, *(f"{NAME}.{process}" for process in TYPES))

pytestmark = pytest.mark.usefixtures("quick")


class Application(SimulatedApp):
    """The app `demo` with two process types: worker after the app, clock after worker."""

    def __init__(self, directory: Path, faults: Faults, known: Systemd | None = None) -> None:
        super().__init__(directory, faults, known=known)
        types = {
            process: replace(self.settings, name=f"{NAME}.{process}", process=process, after=(after,))
            for process, after in zip(TYPES, ("web", "worker"), strict=True)
        }
        self.settings = replace(self.settings, processes=tuple(types.values()))
        self.controllers = [self.controller, *(self.controller_of(process) for process in TYPES)]
        self.systemd.changed = self.on_unit_change

    def controller_of(self, process: str) -> Controller:
        async def nothing(*_: Any) -> dict[str, Any]:
            return {}

        def emit(event: str, fields: dict[str, Any]) -> None:
            self.events.put_nowait({"event": event, **fields})

        return self.factory.make(
            f"{NAME}.{process}",
            self.members,
            nothing,
            nothing,  # type: ignore[arg-type]
            self.draining,
            emit=of_process(process, emit),
            changed=lambda: None,
        )

    def on_unit_change(self, unit: str) -> None:
        for controller in self.controllers:
            controller.on_unit_change(unit)

    async def start(self) -> None:
        for controller in self.controllers:
            controller.start()
        for controller in self.controllers:
            await controller.ready()

    def begin_all(self, number: int, on_failure: OnFailure = OnFailure.ROLLBACK) -> None:
        begins: list[tuple[Controller, Generation, tuple[()]]] = []
        for controller, its in zip(self.controllers, self.settings.members, strict=True):
            settings = replace(its, pace=replace(its.pace, on_failure=on_failure))
            made = replace(generation(number, app=settings.name), release=self.release, settings=settings)
            made = replace(made, origin=self.history.current(settings.name))
            self.pins.write_generation(settings.name, number, {"run": ("", 0o755)}, self.release)
            begins.append((controller, made, ()))
        self.controller.begin_together(begins)

    def break_type(self, name: str, number: int) -> None:
        """Have the instances of a generation of one process type exit at once."""
        prefix, suffix = f"{name}@", ".service"
        self.systemd.broken = lambda unit: (
            unit.startswith(prefix)
            and self.pins.read(name).get(int(unit.removeprefix(prefix).removesuffix(suffix))) == number
        )

    def live(self) -> dict[str, tuple[int, ...]]:
        """Return the generations of the instances that serve, by process type."""
        return {
            item.name: tuple(sorted(seen.generation or 0 for seen in item.observe() if seen.ready_since))
            for item in self.controllers
        }

    def results(self, number: int) -> set[Result]:
        found = [self.history.generation(name, number) for name in NAMES]
        return {item.result for item in found if item is not None}

    async def stop(self) -> None:
        await asyncio.gather(*(item.stop() for item in self.controllers), return_exceptions=True)

    async def close(self) -> None:
        self.faults.armed = False
        await self.stop()
        self.history.close()


async def deployed(directory: Path, faults: Faults) -> Application:
    app = Application(directory, faults)
    await app.start()
    app.begin_all(1)
    assert (await app.event("finished"))["result"] == "succeeded"
    assert app.live() == dict.fromkeys(NAMES, (1, 1))
    return app


def all_are_new(app: Application) -> None:
    pass


def the_last_one_fails(app: Application) -> None:
    app.break_type(NAMES[-1], 2)


def the_first_one_fails(app: Application) -> None:
    app.break_type(NAME, 2)


SCENARIOS: dict[Callable[[Application], None], tuple[Result, int]] = {
    all_are_new: (Result.SUCCEEDED, 2),
    the_last_one_fails: (Result.ROLLED_BACK, 1),
    the_first_one_fails: (Result.ROLLED_BACK, 1),
}


def calls(directory: Path, prepare: Callable[[Application], None]) -> list[str]:
    """Return all calls of a rollout whose daemon lives."""

    async def work() -> list[str]:
        faults = Faults()
        app = await deployed(directory, faults)
        prepare(app)
        faults.armed = True
        app.begin_all(2)
        assert (await app.event("finished"))["result"] == SCENARIOS[prepare][0]
        faults.armed = False
        assert app.live() == dict.fromkeys(NAMES, (SCENARIOS[prepare][1],) * 2)
        assert app.results(2) == {SCENARIOS[prepare][0]}
        await app.close()
        return faults.calls

    directory.mkdir()
    return asyncio.run(work())


async def killed_at(directory: Path, prepare: Callable[[Application], None], at: int) -> None:
    """Kill the daemon at a call, start another one, and check where the rollout ends."""
    death = Death(at)
    app = await deployed(directory, death)
    prepare(app)
    death.armed = True
    with contextlib.suppress(Died):
        app.begin_all(2)
        await death.wait(app)
    known = {name: app.history.rollout(name) for name in NAMES}
    assert len({item is None for item in known.values()}) == 1, known
    await app.stop()
    app.history.close()
    following = Application(directory, Faults(), app.systemd)
    prepare(following)
    begun = following.history.generation(NAME, 2) is not None
    going = following.history.rollout(NAME) is not None
    await following.start()
    if going:
        await following.event("finished")
    result, live = SCENARIOS[prepare] if begun else (None, 1)
    assert following.live() == dict.fromkeys(NAMES, (live, live))
    assert following.results(2) == ({result} if result is not None else set())
    assert {following.history.current(name) for name in NAMES} == {live}
    await following.close()


@pytest.mark.sampled
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # those that had not begun
@pytest.mark.parametrize("prepare", SCENARIOS)
def test_a_daemon_killed_at_any_call_leaves_all_types_in_one_generation(
    tmp_path: Path, prepare: Callable[[Application], None]
) -> None:
    often = ("Pins.read", "Pins.standby", "Deployment.is_opening", "History.generation", "History.settings")
    labels = calls(tmp_path / "alive", prepare)
    assert labels.count("History.begin_together") == labels.count("History.finish_together") == 1
    for at, label in enumerate(labels, 1):
        if label in often or (at % 7 and not label.startswith("History.")):
            continue
        (tmp_path / str(at)).mkdir()
        asyncio.run(killed_at(tmp_path / str(at), prepare, at))
    gc.collect()  # of the daemons that were killed, while the warnings of their coroutines are ignored


def test_an_aborted_rollout_of_all_types_ends_once(tmp_path: Path) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults())
        app.systemd.hanging = lambda unit: unit.startswith(f"{NAMES[1]}@3")
        app.begin_all(2)
        while (event := await app.event("instance")).get("process") != "worker":
            pass
        assert event["state"] == "starting"
        for controller in app.controllers:
            controller.send(Event.ABORT, "aborted by request")
        assert (await app.event("finished"))["result"] == "aborted"
        assert app.live() == dict.fromkeys(NAMES, (1, 1))
        assert app.results(2) == {Result.ABORTED}
        assert app.events.empty() or all(item["event"] != "finished" for item in app.events._queue)  # type: ignore[attr-defined]
        await app.close()

    asyncio.run(test())


def test_a_failure_that_pauses_one_type_pauses_all(tmp_path: Path) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults())
        the_last_one_fails(app)
        app.begin_all(2, OnFailure.PAUSE)
        paused = await app.event("paused")
        assert paused["reason"].startswith("clock: instance"), paused
        async with asyncio.timeout(DEADLINE):
            while any(item.rollout is None or not item.rollout.suspended for item in app.controllers):
                await asyncio.sleep(0)
        app.systemd.broken = lambda _: False
        for controller in app.controllers:
            assert controller.send(Event.RESUME)
        assert (await app.event("finished"))["result"] == "succeeded"
        assert app.live() == dict.fromkeys(NAMES, (2, 2))
        await app.close()

    asyncio.run(test())


def test_a_newer_rollout_supersedes_those_of_all_types(tmp_path: Path) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults())
        app.systemd.hanging = lambda unit: unit == f"{NAMES[1]}@3.service"
        app.begin_all(2)
        while (await app.event("instance")).get("process") != "worker":
            pass
        app.systemd.hanging = lambda _: False
        app.begin_all(3)
        assert (await app.event("finished"))["result"] == "superseded"
        assert app.results(2) == {Result.SUPERSEDED}
        assert (await app.event("finished"))["result"] == "succeeded"
        assert app.live() == dict.fromkeys(NAMES, (3, 3))
        assert app.results(3) == {Result.SUCCEEDED}
        await app.close()

    asyncio.run(test())


def test_the_deadline_of_a_type_does_not_count_while_others_come_first(tmp_path: Path) -> None:
    """The rollout of each type is made to look an hour old, which exceeds the deadline of half an hour."""

    async def test(aged: str, result: str) -> None:
        directory = tmp_path / aged
        directory.mkdir()
        app = await deployed(directory, Faults())
        app.begin_all(2)
        active = app.members._parts[aged].recorder.active
        assert active is not None
        active.rollout = replace(active.rollout, since=active.rollout.since - 3600)
        ended = await app.event("finished")
        assert ended["result"] == result, ended
        await app.close()

    asyncio.run(test(NAMES[2], "succeeded"))
    asyncio.run(test(NAME, "rolled-back"))


def test_a_type_that_is_new_is_removed_if_the_rollout_fails(tmp_path: Path) -> None:
    async def test() -> None:
        app = Application(tmp_path, Faults())
        every, controllers = app.settings.processes, app.controllers
        app.settings, app.controllers = replace(app.settings, processes=every[:1]), controllers[:2]
        await app.start()
        app.begin_all(1)
        assert (await app.event("finished"))["result"] == "succeeded"
        app.settings, app.controllers = replace(app.settings, processes=every), controllers
        controllers[2].start()
        await controllers[2].ready()
        app.break_type(NAMES[1], 2)
        app.begin_all(2)
        ended = await app.event("finished")
        assert (ended["result"], ended["reason"].startswith("worker: instance")) == ("rolled-back", True)
        assert app.live() == {NAMES[0]: (1, 1), NAMES[1]: (1, 1), NAMES[2]: ()}
        assert [app.history.current(name) for name in NAMES] == [1, 1, None]
        assert not any(app.history.rollout(name) for name in NAMES)
        await app.close()

    asyncio.run(test())


def test_a_type_that_the_app_has_no_longer_is_stopped_after_the_success(tmp_path: Path) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults())
        every = app.controllers
        app.settings, app.controllers = replace(app.settings, processes=app.settings.processes[:1]), every[:2]
        app.begin_all(2)
        assert (await app.event("finished"))["result"] == "succeeded"
        async with asyncio.timeout(DEADLINE):
            while app.history.current(NAMES[2]) is not None:
                every[2].wake()
                await asyncio.sleep(0)
        assert app.history.generation(NAMES[2], 1) is not None, "for a rollback"
        app.controllers = every
        await app.close()

    asyncio.run(test())
