"""[rollout.analysis]: what runs and when, what is reported of it, and what a failure leads to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from deployd.errors import SystemdError
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
from deployd.rollout.analysis_command import AnalysisCommand
from deployd.rollout.probation_analysis import ProbationAnalysis
from deployd.systemd.proxy import UnitExists
from deployd.systemd.transient import Outcome
from tests.rollout.commands_of_demo import CommandsOfDemo

UNIT = "demo:analysis.service"
GOOD = Outcome(0, None, False, "ab" * 16, 0.25)
BAD = Outcome(1, None, False, "cd" * 16, 1.0, "exit-code")
TABLE = AnalysisSettings(("./bin/ok", "a b"), interval=0.001, timeout=7)
COMPARISON = {"app": "demo", "generations": []}
BOTH = (Instance(1, 6, State.READY), Instance(2, 7, State.READY))
STOPS = (Stop(1, 6),)


def app(table: AnalysisSettings | None = TABLE) -> App:
    return App("demo", "/srv/demo/current", ("./serve",), (), user="www-data", pace=Pace(analysis=table))


def active(table: AnalysisSettings | None = TABLE, cause: Cause = Cause.ROLLOUT, **rollout: Any) -> ActiveRollout:
    target = Generation("demo", 7, "/srv/demo/v7", "", cause, Result.RUNNING, "", 0.0, origin=6, settings=app(table))
    now = Timestamp.now()
    return ActiveRollout(Rollout("demo", 6, 7, **{"since": now.monotonic, "boot": now.boot, **rollout}), target)


class Site(CommandsOfDemo):
    """The analysis of demo, with a transient whose commands have the given outcomes."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        super().__init__(UNIT, *outcomes)
        self.reported: list[tuple[str, str]] = []
        self.woken = asyncio.Event()
        self.comparison: dict[str, Any] = COMPARISON
        self.command = AnalysisCommand(
            "demo",
            self,  # type: ignore[arg-type]
            self.commands,
            self.tail,
            self.compare,
        )
        self.analysis = Analysis(
            "demo",
            self.command,
            wake=self.woken.set,
            emit=lambda event, fields: self.reported.append((event, fields["state"])),
        )

    async def compare(self, name: str) -> dict[str, Any]:
        assert name == "demo"
        return self.comparison

    async def tail(self, invocation_id: str, unit: str = "", since: float | None = None) -> tuple[str, ...]:
        assert (invocation_id, unit) == (BAD.invocation_id, UNIT)
        assert since is not None
        return ("error rate 4 %",)

    async def turn(self, under_way: ActiveRollout | None, seen: tuple[Instance, ...] = BOTH) -> Failure | None:
        """Make one turn of the control loop."""
        self.woken.clear()
        return self.analysis.update(under_way, seen)

    async def runs(self, under_way: ActiveRollout, number: int = 1) -> Failure | None:
        """Make turns until so many runs have ended, or one has failed."""
        async with asyncio.timeout(20):
            while True:
                failure = await self.turn(under_way)
                # On a slow machine the turn may have begun the next run already, which never ends.
                if failure is not None or self.finished + self.stopped >= number:
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


def test_it_runs_as_the_app_in_the_new_release_with_the_output_of_compare() -> None:
    async def work(site: Site) -> None:
        under_way = active()
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
    assert site.reported == [("analysis", "succeeded")]


def test_a_failure_is_reported_whole_and_the_command_does_not_run_again() -> None:
    async def work(site: Site) -> None:
        under_way = active()
        expected = Failure(
            gate=GateName.ANALYSIS,
            reason="analysis ./bin/ok 'a b' exited with status 1",
            waited_for="./bin/ok 'a b' to exit with status 0",
            waited=1.0,
            exit_status=1,
            journal=("error rate 4 %",),
        )
        assert await site.runs(under_way, 2) == expected
        assert await site.turn(under_way) == expected, "until the rollout changes its phase"
        assert site.analysis.allowed(STOPS, BOTH) == STOPS, "an earlier success still counts"
        back = under_way
        back.rollout = replace(back.rollout, phase=Phase.ROLLING_BACK)
        assert await site.turn(back) is None

    site = on_site(work, GOOD, BAD)
    assert len(site.ran) == 2


def test_the_last_old_instances_wait_for_a_success() -> None:
    async def work(site: Site) -> None:
        under_way = active(replace(TABLE, interval=1000.0))
        assert site.analysis.allowed(STOPS, BOTH) == STOPS, "before the first update"
        assert await site.turn(under_way) is None
        assert site.analysis.allowed(STOPS, BOTH) == site.analysis.allowed(STOPS, BOTH) == ()
        assert not site.ran, "it is not due yet"
        assert await site.turn(under_way, BOTH[1:]) is None
        assert site.analysis.allowed(STOPS, BOTH[1:]) == STOPS

    assert on_site(work).reported == [("analysis", "waiting")]


def test_a_success_from_before_the_last_progress_does_not_count() -> None:
    async def work(site: Site) -> None:
        under_way = active()
        await site.runs(under_way)
        under_way.restart_clock(Timestamp.now())
        assert site.analysis.allowed(STOPS, BOTH) == ()
        await site.runs(under_way, 3)
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    reported = on_site(work, GOOD, GOOD, GOOD).reported
    assert reported == [("analysis", "succeeded"), ("analysis", "waiting"), ("analysis", "succeeded")]


def test_progress_before_a_reboot_needs_no_new_success() -> None:
    async def work(site: Site) -> None:
        await site.runs(active(since=time.monotonic() + 1e6, boot="another"))
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    on_site(work, GOOD)


@pytest.mark.parametrize(
    "under_way",
    [
        None,
        active(None),
        active(cause=Cause.ROLLBACK),
        active(cause=Cause.RESTART),
        active(cause=Cause.SCALE),
        active(phase=Phase.ROLLING_BACK),
        active(phase=Phase.PAUSED, pause=Pause.REQUESTED),
    ],
)
def test_a_rollout_without_analysis_waits_for_nothing(under_way: ActiveRollout | None) -> None:
    async def work(site: Site) -> None:
        assert await site.turn(under_way) is await site.turn(under_way) is None
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    assert not on_site(work).ran


def test_the_analysis_runs_while_a_canary_waits() -> None:
    async def work(site: Site) -> None:
        failure = await site.runs(active(phase=Phase.PAUSED, pause=Pause.HELD))
        assert failure is not None

    on_site(work, BAD)


def test_a_rollback_stops_the_command() -> None:
    async def work(site: Site) -> None:
        under_way = active()
        async with asyncio.timeout(20):
            while not site.ran:
                await site.turn(under_way)
                await asyncio.sleep(0)
        await site.turn(active(phase=Phase.ROLLING_BACK))
        await asyncio.sleep(0)
        assert site.stopped == 1
        site.outcomes = [GOOD]
        assert await site.runs(active(), 2) is None

    assert on_site(work).reported == [("analysis", "succeeded")]


def test_the_command_is_stopped_when_no_old_instance_is_left() -> None:
    async def work(site: Site) -> None:
        under_way, stopped = active(), []
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


def test_a_command_left_by_a_killed_daemon_is_awaited() -> None:
    async def work(site: Site) -> None:
        assert await site.runs(active()) is None

    assert on_site(work, UnitExists("was already loaded"), GOOD).settled == [UNIT]


def test_a_command_that_cannot_run_is_retried_a_few_times() -> None:
    errors = [SystemdError("no reply"), ValueError("a bug")]

    async def mends(site: Site) -> None:
        assert await site.runs(active(), 3) is None
        assert site.analysis.allowed(STOPS, BOTH) == STOPS

    on_site(mends, *errors, GOOD)

    async def stays(site: Site) -> None:
        failure = await site.runs(active(), 100)
        assert failure is not None
        assert failure.reason == "analysis ./bin/ok 'a b' could not be run: no reply"
        assert len(site.ran) == TRIES

    on_site(stays, *errors, errors[0])


def test_a_generation_on_probation_is_compared_with_the_one_before_as_it_was_last() -> None:
    old, new = {"generation": 6, "ready": 2}, {"generation": 7, "ready": 4}

    async def work(site: Site) -> None:
        after = ProbationAnalysis("demo", site.command, wake=site.woken.set)
        target = active().target
        assert after.update(target, time.monotonic()) is None
        assert not site.ran, "it has nothing to compare"
        site.comparison = {"app": "demo", "generations": [new, old]}
        await site.runs(active())
        site.comparison = {"app": "demo", "generations": [new]}
        site.woken.clear()
        async with asyncio.timeout(20):
            while (failure := after.update(target, time.monotonic())) is None:
                await site.woken.wait()
                site.woken.clear()
        assert failure.gate is GateName.ANALYSIS
        _, [[_, data]] = site.ran[-1].properties()["SetCredential"]
        assert json.loads(data) == {"app": "demo", "generations": [new, old]}
        after.end()

    on_site(work, GOOD, GOOD, SystemdError("systemd is busy"), BAD)
