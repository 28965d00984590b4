"""The watchdog: which instances it watches, when it looks, and what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

import pytest

from deployd.errors import SteeringError
from deployd.instances import watchdog
from deployd.instances.watchdog import Watchdog, overlaid
from deployd.model.hang import Hang
from deployd.model.instance import Instance, State
from deployd.model.steering import Load

ONE, TWO = (Instance(number, 2, State.READY, ready_since=50.0, invocation_id=f"id{number}") for number in (1, 2))
LIMIT = 30.0


class Alarm:
    """Remembers when it is to ring, in place of the loop's timer."""

    def __init__(self, ring: object) -> None:
        self.ring = ring
        self.at: float | None = None

    def set(self, delay: float) -> None:
        self.at = delay if self.at is None else min(self.at, delay)

    def clear(self) -> None:
        self.at = None

    close = clear


class World:
    """What the kernel counts, by the test's word, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counted: dict[int, Load] = {}
        self.ages: dict[int, list[float]] = {}
        self.asked: list[set[int]] = []
        self.broken = False
        self.changes = 0
        self.watchdog = Watchdog("web", lambda: self, changed=self._changed, clock=lambda: self.now)

    def loads(self) -> dict[int, Load]:
        if self.broken:
            raise SteeringError("no maps")
        return self.counted

    def unread(self, numbers: Collection[int]) -> dict[int, list[float]]:
        self.asked.append(set(numbers))
        return {number: self.ages.get(number, []) for number in numbers}

    def _changed(self) -> None:
        self.changes += 1

    @property
    def due(self) -> float | None:
        alarm: object = self.watchdog._alarm
        assert isinstance(alarm, Alarm)
        return alarm.at

    def ring(self) -> None:
        """Let the time pass until it looks again."""
        assert self.due is not None
        self.now += self.due
        self.watchdog._alarm.clear()
        self.watchdog._look()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(watchdog, "Alarm", Alarm)
    return World()


def test_an_idle_instance_is_looked_at_once_in_each_limit(world: World) -> None:
    world.watchdog.update(LIMIT, 2, [ONE, TWO])
    for expected in (0.0, LIMIT, LIMIT):
        assert world.due == expected
        world.ring()
    assert (world.asked, world.changes, world.watchdog.results) == ([], 0, {})


def test_one_that_hangs_is_reported_with_its_invocation_and_until_it_answers(world: World) -> None:
    world.watchdog.update(LIMIT, 2, [ONE, TWO])
    world.counted = {1: Load(in_flight=3, progress=80.0), 2: Load(in_flight=1, progress=99.0)}
    world.ring()
    assert world.due == 10.0
    world.ages, world.counted[2] = {1: [4.0]}, Load(progress=105.0)
    world.ring()
    assert (world.asked, world.changes) == ([{1}], 0)
    world.ages = {1: [LIMIT]}
    world.ring()
    assert world.now == 136.0  # what came four seconds before is then unread for thirty
    assert world.watchdog.results == {1: ("id1", Hang(3, 80.0))}
    assert overlaid(ONE, world.watchdog.results[1]).hang == Hang(3, 80.0)
    assert overlaid(replace(ONE, invocation_id="later"), world.watchdog.results[1]).hang is None
    assert world.changes == 1
    world.counted[1] = Load(progress=140.0)
    world.ring()
    assert (world.watchdog.results, world.changes) == ({}, 2)


def test_nothing_is_looked_at_without_a_limit_or_a_generation(world: World) -> None:
    for limit, generation in ((0.0, 2), (LIMIT, None)):
        world.watchdog.update(LIMIT, 2, [ONE, TWO])
        world.watchdog.update(limit, generation, [ONE, TWO])
        assert world.due is None


def test_instances_of_other_generations_and_those_that_are_not_ready_are_left_out(world: World) -> None:
    world.counted = {1: Load(in_flight=1, progress=0.0), 2: Load(in_flight=1, progress=0.0)}
    world.ages = {1: [60.0], 2: [60.0]}
    world.watchdog.update(LIMIT, 2, [replace(ONE, generation=1), replace(TWO, state=State.STARTING)])
    world.ring()
    assert (world.asked, world.watchdog.results) == ([], {})
    world.watchdog.update(LIMIT, 2, [ONE, replace(TWO, restarts=1)])
    world.ring()
    assert world.watchdog.results.keys() == {1, 2}
    world.watchdog.update(LIMIT, 3, [ONE, TWO])
    assert (world.watchdog.results, world.due) == ({}, 0.0)


def test_an_update_of_the_instances_alone_looks_no_earlier(world: World) -> None:
    world.watchdog.update(LIMIT, 2, [ONE])
    world.ring()
    world.watchdog.update(LIMIT, 2, [ONE, TWO])
    assert world.due == LIMIT


def test_a_kernel_that_does_not_answer_is_asked_again(world: World) -> None:
    world.broken = True
    world.watchdog.update(LIMIT, 2, [ONE])
    world.ring()
    assert (world.due, world.changes) == (LIMIT, 0)


def test_it_looks_by_a_timer_of_the_loop() -> None:
    async def looked() -> bool:
        done = asyncio.Event()

        def sockets() -> World:
            done.set()
            return World()

        dog = Watchdog("web", sockets, changed=lambda: None)
        dog.update(LIMIT, 2, [ONE])
        await asyncio.wait_for(done.wait(), 10)
        dog.stop()
        return True

    assert asyncio.run(looked())
