"""[rollout.analysis]: what is run, when, what is told of it, and what a no leads to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import SystemdError
from deployd.instances.commands import Commands
from deployd.model.action import Stop
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause, Generation, Result
from deployd.model.instance import Instance, State
from deployd.model.pace import AnalysisSettings, Pace
from deployd.model.rollout import Pause, Phase, Rollout
from deployd.rollout.active import ActiveRollout
from deployd.rollout.analysis import TRIES, Analysis
from deployd.state.pins import Pins
from deployd.systemd.proxy import UnitExists
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command, Outcome

UNIT = "demo:analysis.service"
GOOD = Outcome(0, None, False, "ab" * 16, 0.25)
BAD = Outcome(1, None, False, "cd" * 16, 1.0, "exit-code")
TABLE = AnalysisSettings(("./bin/ok", "a b"), interval=0.001, timeout=7)
COMPARISON = {"app": "demo", "generations": []}
BOTH = (Instance(1, 6, State.READY), Instance(2, 7, State.READY))
STOPS = (Stop(1, 6),)


def app(table: AnalysisSettings | None = TABLE) -> App:
    return App("demo", "/srv/demo/current", ("./serve",), (), user="www-data", pace=Pace(analysis=table))


def course(table: AnalysisSettings | None = TABLE, cause: Cause = Cause.ROLLOUT, **rollout: Any) -> ActiveRollout:
    target = Generation("demo", 7, "/srv/demo/v7", "", cause, Result.RUNNING, "", 0.0, origin=6, settings=app(table))
    now = Timestamp.now()
    return ActiveRollout(Rollout("demo", 6, 7, **{"since": now.monotonic, "boot": now.boot, **rollout}), target)


class Site:
    """The analysis of demo, with a transient that ends commands as `outcomes` say."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.ran: list[Command] = []
        self.settled: list[str] = []
        self.stopped = 0
        self.told: list[tuple[str, str]] = []
        self.woken = asyncio.Event()
        commands = Commands(self, Pins(Path("/var/lib/deployd")))  # type: ignore[arg-type]
        self.analysis = Analysis(
            "demo",
            self,  # type: ignore[arg-type]
            commands,
            self.tail,
            self.compare,
            wake=self.woken.set,
            emit=lambda event, fields: self.told.append((event, fields["state"])),
        )

    async def compare(self, name: str) -> dict[str, Any]:
        assert name == "demo"
        return COMPARISON

    async def of_unit(self, app: str, text: str) -> ServiceSettings:
        assert "/var/lib/deployd/apps/demo/generations/7/environment" in text
        return {"User": ("s", "www-data")}

    async def tail(self, invocation_id: str, unit: str = "", since: float | None = None) -> tuple[str, ...]:
        assert (invocation_id, unit) == (BAD.invocation_id, UNIT)
        assert since is not None
        return ("error rate 4 %",)

    async def settle(self, unit: str) -> None:
        self.settled.append(unit)

    async def run(self, unit: str, command: Command) -> Outcome:
        assert unit == UNIT
        self.ran.append(command)
        if not self.outcomes:
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def turn(self, under_way: ActiveRollout | None, seen: tuple[Instance, ...] = BOTH) -> Failure | None:
        """One of the control loop's: look, and if that leads to anything, wait for it."""
        self.woken.clear()
        return self.analysis.update(under_way, seen)

    async def runs(self, under_way: ActiveRollout, number: int = 1) -> Failure | None:
        """Turn until so many runs have ended, or one of them has failed."""
        async with asyncio.timeout(20):
            while True:
                failure = await self.turn(under_way)
                if failure is not None or (len(self.ran) >= number and self.analysis._task is None):
                    return failure
                await self.woken.wait()


def on_site(work: Callable[[Site], Awaitable[None]], *outcomes: Outcome | Exception) -> Site:
    async def whole() -> Site:
        site = Site(*outcomes)
        await work(site)
        site.analysis.end()
        await asyncio.sleep(0)
        return site

    return asyncio.run(whole())


def test_it_is_run_as_the_app_in_the_new_release_with_what_compare_tells() -> None:
    async def work(site: Site) -> None:
        under_way = course()
        assert await site.runs(under_way) is None
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    site = on_site(work, GOOD)
    command = site.ran[0]
    assert command.argv == ("/srv/demo/v7/bin/ok", "a b")
    assert (command.settings, command.directory, command.timeout) == ({"User": ("s", "www-data")}, "/srv/demo/v7", 7)
    assert command.environment == {
        "DEPLOYD_PREVIOUS_GENERATION": "6",
        "DEPLOYD_COMPARE": "/run/credentials/demo:analysis.service/compare",
    }
    signature, [[name, data]] = command.properties()["SetCredential"]
    assert (signature, name, json.loads(data)) == ("a(say)", "compare", COMPARISON)
    assert site.told == [("analysis", "succeeded")]


def test_a_no_is_told_whole_and_not_asked_again() -> None:
    async def work(site: Site) -> None:
        under_way = course()
        expected = Failure(
            gate=GateName.ANALYSIS,
            reason="analysis ./bin/ok 'a b' exited with status 1",
            waited_for="./bin/ok 'a b' to exit with status 0",
            waited=1.0,
            exit_status=1,
            journal=("error rate 4 %",),
        )
        assert await site.runs(under_way, 2) == expected
        assert await site.turn(under_way) == expected, "until the rollout goes elsewhere"
        assert site.analysis.allowed(STOPS, BOTH) == STOPS, "an earlier yes is not taken back"
        back = under_way
        back.rollout = replace(back.rollout, phase=Phase.ROLLING_BACK)
        assert await site.turn(back) is None

    site = on_site(work, GOOD, BAD)
    assert len(site.ran) == 2


def test_the_last_old_ones_wait() -> None:
    async def work(site: Site) -> None:
        under_way = course(replace(TABLE, interval=1000.0))
        assert site.analysis.allowed(STOPS, BOTH) == STOPS, "nobody has looked"
        assert await site.turn(under_way) is None
        assert site.analysis.allowed(STOPS, BOTH) == site.analysis.allowed(STOPS, BOTH) == ()
        assert not site.ran, "it is not due yet"
        assert await site.turn(under_way, BOTH[1:]) is None
        assert site.analysis.allowed(STOPS, BOTH[1:]) == STOPS

    assert on_site(work).told == [("analysis", "waiting")]


def test_who_passes_later_is_looked_at_as_well() -> None:
    async def work(site: Site) -> None:
        under_way = course()
        await site.runs(under_way)
        under_way.restart_clock(Timestamp.now())
        assert site.analysis.allowed(STOPS, BOTH) == ()
        await site.runs(under_way, 3)
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    told = on_site(work, GOOD, GOOD, GOOD).told
    assert told == [("analysis", "succeeded"), ("analysis", "waiting"), ("analysis", "succeeded")]


def test_what_got_on_before_a_reboot_was_before() -> None:
    async def work(site: Site) -> None:
        await site.runs(course(since=time.monotonic() + 1e6, boot="another"))
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    on_site(work, GOOD)


@pytest.mark.parametrize(
    "under_way",
    [
        None,
        course(None),
        course(cause=Cause.ROLLBACK),
        course(cause=Cause.RESTART),
        course(cause=Cause.SCALE),
        course(phase=Phase.ROLLING_BACK),
        course(phase=Phase.PAUSED, pause=Pause.REQUESTED),
    ],
)
def test_a_rollout_that_is_not_analysed_waits_for_nothing(under_way: ActiveRollout | None) -> None:
    async def work(site: Site) -> None:
        assert await site.turn(under_way) is await site.turn(under_way) is None
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    assert not on_site(work).ran


def test_a_held_one_is_analysed() -> None:
    async def work(site: Site) -> None:
        failure = await site.runs(course(phase=Phase.PAUSED, pause=Pause.HELD))
        assert failure is not None

    on_site(work, BAD)


def test_a_rollout_that_goes_elsewhere_stops_it() -> None:
    async def work(site: Site) -> None:
        under_way = course()
        async with asyncio.timeout(20):
            while not site.ran:
                await site.turn(under_way)
                await asyncio.sleep(0)
        await site.turn(course(phase=Phase.ROLLING_BACK))
        await asyncio.sleep(0)
        assert site.stopped == 1
        site.outcomes = [GOOD]
        assert await site.runs(course(), 2) is None

    assert on_site(work).told == [("analysis", "succeeded")]


def test_when_the_old_are_gone_it_is_stopped() -> None:
    async def work(site: Site) -> None:
        under_way, stopped = course(), []
        async with asyncio.timeout(20):
            while not site.ran:
                await site.turn(under_way)
                await asyncio.sleep(0)
        for state in (State.STOPPING, State.INACTIVE):
            await site.turn(under_way, (replace(BOTH[0], state=state), BOTH[1]))
            await asyncio.sleep(0)
            stopped.append(site.stopped)
        assert stopped == [0, 1]

    on_site(work)


def test_one_that_is_left_is_waited_for() -> None:
    async def work(site: Site) -> None:
        assert await site.runs(course()) is None

    assert on_site(work, UnitExists("was already loaded"), GOOD).settled == [UNIT]


def test_what_cannot_be_run_is_tried_again_but_not_for_ever() -> None:
    errors = [SystemdError("no reply"), ValueError("a bug")]

    async def mends(site: Site) -> None:
        assert await site.runs(course(), 3) is None
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    on_site(mends, *errors, GOOD)

    async def stays(site: Site) -> None:
        failure = await site.runs(course(), 100)
        assert failure is not None
        assert failure.reason == "analysis ./bin/ok 'a b' could not be run: no reply"
        assert len(site.ran) == TRIES

    on_site(stays, *errors, errors[0])
