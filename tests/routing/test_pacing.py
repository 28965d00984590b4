"""The watch of reconnecting clients: what it reads, and what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from deployd.errors import SteeringError
from deployd.model.generation import Cause
from deployd.model.rollout import Phase, Rollout
from deployd.plan import pacing as rules
from deployd.plan.pacing import FEW
from deployd.routing.pacing import Pacing
from deployd.routing.snapshot import Snapshot
from tests.plan.worlds import app

MANY = FEW + 1


class Listeners:
    """Counts how often the kernel is asked."""

    synced = True

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False

    def counters(self) -> dict[int, int]:
        self.reads += 1
        if self.fails:
            raise SteeringError("the kernel does not answer")
        return {1: 7}

    def queues(self) -> dict[int, int]:
        return {}

    def connections(self, numbers: Collection[int]) -> dict[int, int]:
        return dict.fromkeys(numbers, 0)


class Site:
    def __init__(self) -> None:
        self.listeners = Listeners()
        self.changes: list[bool] = []
        self.pacing = Pacing("shop", self.listeners, self.changed)  # type: ignore[arg-type]

    async def turn(self, number: int, connections: int, settle: float) -> None:
        await self.pacing.turn(number, connections, lambda: settle)

    def changed(self) -> None:
        self.changes.append(self.pacing.under_way)


Scenario = Callable[[Site], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setattr("deployd.routing.pacing.STEP", 0.001)
    monkeypatch.setattr("deployd.routing.pacing.SAMPLE", 0.001)
    monkeypatch.setattr(rules, "absorbed", lambda _wave, readings: len(readings) > 4)

    def run(scenario: Scenario) -> None:
        async def begin() -> None:
            await scenario(Site())

        asyncio.run(asyncio.wait_for(begin(), 10))

    return run


def test_nothing_is_read_without_a_wave(play: Play) -> None:
    async def scenario(site: Site) -> None:
        await site.turn(1, MANY, 0.0)
        await site.turn(1, 0, 5.0)
        await site.turn(1, FEW, 5.0)
        site.listeners.synced = False
        await site.turn(1, MANY, 5.0)
        assert (site.listeners.reads, site.changes) == (0, [])

    play(scenario)


def test_the_next_instance_waits_for_the_wave_of_the_last_one(play: Play) -> None:
    async def scenario(site: Site) -> None:
        await site.turn(1, MANY, 5.0)
        assert site.changes == [True], "the last instance waits for nothing"
        await site.turn(2, MANY, 5.0)
        assert site.changes == [True, False, True]
        await asyncio.gather(site.turn(3, MANY, 5.0), site.turn(4, MANY, 5.0))
        assert site.changes == [True, False] * 3 + [True]
        site.pacing.stop()

    play(scenario)


def test_small_ones_add_up(play: Play) -> None:
    async def scenario(site: Site) -> None:
        await site.turn(1, FEW, 5.0)
        assert site.changes == []
        await site.turn(2, FEW, 5.0)
        assert site.changes == [True]
        site.pacing.stop()

    play(scenario)


def test_a_wave_is_not_waited_for_longer_than_its_limit(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "absorbed", lambda _wave, _readings: False)

    async def scenario(site: Site) -> None:
        await site.turn(1, MANY, 0.01)
        await site.turn(2, MANY, 0.01)
        site.pacing.stop()

    play(scenario)


def test_what_waits_for_a_wave_goes_on_at_once_when_a_rollback_begins(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "absorbed", lambda _wave, _readings: False)

    async def scenario(site: Site) -> None:
        settle = 3600.0
        await site.pacing.turn(1, MANY, lambda: settle)
        waiting = [asyncio.ensure_future(site.pacing.turn(number, MANY, lambda: settle)) for number in (2, 3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        settle = 0.0
        site.pacing.stop()
        await asyncio.gather(*waiting)
        assert not site.pacing.under_way
        assert site.changes == [True], "no other wave is watched"

    play(scenario)


def test_a_watch_that_ends_before_it_has_begun_is_no_wave(play: Play) -> None:
    async def scenario(site: Site) -> None:
        site.pacing.begin(1, MANY, 5.0)
        site.pacing.stop()
        await asyncio.sleep(0)
        assert not site.pacing.under_way

    play(scenario)


def test_only_rollbacks_do_not_wait() -> None:
    rolling = Snapshot((), app(), Rollout("shop", 1, 2))
    assert Snapshot((), app()).settle == rolling.settle == app().drain.settle > 0
    for hurried in (
        replace(rolling, rollout=Rollout("shop", 1, 2, phase=Phase.ROLLING_BACK)),
        replace(rolling, cause=Cause.ROLLBACK),
        replace(rolling, prefer=1),
    ):
        assert hurried.settle == 0


def test_a_kernel_that_does_not_answer_delays_nothing(play: Play) -> None:
    async def scenario(site: Site) -> None:
        await site.turn(1, MANY, 5.0)
        site.listeners.fails = True
        await site.turn(2, MANY, 5.0)
        assert site.changes == [True, False]

    play(scenario)
