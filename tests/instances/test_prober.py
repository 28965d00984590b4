"""Probes: which instances are probed, how often, and which results count."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from deployd.errors import SystemdError
from deployd.instances.prober import Prober, overlaid
from deployd.model.app import App
from deployd.model.gate import FAIL_AFTER, Answer, Gate, Probe
from deployd.model.instance import Instance, State

HTTP = App("web", "/srv/web", ("/bin/web",), (), gate=Gate(probe=Probe(http="/_status")))
COMMAND = replace(HTTP, gate=Gate(probe=Probe(command=("bin/check",), expect=0)))
RELEASE = "/srv/web/1"
ONE, TWO = (Instance(number, 1, State.READY, invocation_id=f"id{number}", main_pid=number) for number in (1, 2))


class World:
    """Probes whose answers the test gives, the present invocations, and a clock that the test moves."""

    def __init__(self) -> None:
        self.probed: list[tuple[str, int, str]] = []
        self.cancelled: list[int] = []
        self.invocations = {1: "id1", 2: "id2"}
        self.unreachable = False
        self.now = 100.0
        self.slept: list[float] = []
        self.changes = 0
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._naps: list[asyncio.Future[None]] = []
        self.prober = Prober(
            self._ask("http"),
            self._ask("command"),
            self._present,
            self._changed,
            clock=lambda: self.now,
            sleep=self._nap,
        )

    def _ask(self, kind: str) -> Callable[[App, Instance, str], Awaitable[Answer]]:
        async def ask(_app: App, instance: Instance, release: str) -> Answer:
            self.probed.append((kind, instance.number, release))
            future = self._answers[instance.number] = asyncio.get_running_loop().create_future()
            try:
                answer: Answer = await future
                return answer
            except asyncio.CancelledError:
                self.cancelled.append(instance.number)
                raise

        return ask

    async def _present(self, number: int) -> str:
        if self.unreachable:
            raise SystemdError("systemd is busy")
        return self.invocations[number]

    async def _nap(self, seconds: float) -> None:
        self.slept.append(seconds)
        future = asyncio.get_running_loop().create_future()
        self._naps.append(future)
        await future

    def _changed(self) -> None:
        self.changes += 1

    async def answer(self, number: int, what: str | Answer | Exception = "") -> None:
        """Answer the probe of an instance, so that its interval begins."""
        future = self._answers.pop(number)
        what = Answer(what) if isinstance(what, str) else what
        future.set_exception(what) if isinstance(what, Exception) else future.set_result(what)
        await settle()

    async def interval(self) -> None:
        """End all intervals."""
        naps, self._naps = self._naps, []
        for nap in naps:
            if not nap.done():
                nap.set_result(None)
        await settle()

    async def update(self, *wanted: Instance, settings: App = HTTP, release: str = RELEASE, calm: float = 0.0) -> None:
        self.prober.update(settings, release, wanted, calm)
        await settle()

    def result(self, item: Instance = ONE) -> tuple[float, str]:
        shown = overlaid(item, self.prober.results.get(item.number))
        assert replace(shown, probed_since=0.0, probed_from=0.0, probe_error="", probe_failures=0) == item
        return shown.probed_since, shown.probe_error


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def scenario(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            world = World()
            await test(world)
            await world.prober.stop()
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scenario
async def test_each_instance_is_probed_at_once_and_again_after_the_interval(world: World) -> None:
    await world.update(ONE, TWO)
    assert world.probed == [("http", 1, RELEASE), ("http", 2, RELEASE)]
    await world.interval()
    assert len(world.probed) == 2  # never two probes of one instance at a time
    await world.answer(1, "answered 503 instead of 200")
    assert world.slept == [0.25]
    await world.interval()
    assert world.probed[2:] == [("http", 1, RELEASE)]


@scenario
async def test_a_command_probe_runs_the_command(world: World) -> None:
    await world.update(ONE, settings=COMMAND)
    assert world.probed == [("command", 1, RELEASE)]


@scenario
async def test_no_instance_is_probed_without_a_probe(world: World) -> None:
    await world.update(ONE, settings=replace(HTTP, gate=Gate()))
    assert world.probed == []


@scenario
async def test_the_time_of_the_first_success_is_remembered(world: World) -> None:
    await world.update(ONE)
    assert world.result() == (0.0, "")
    await world.answer(1, "answered 503 instead of 200")
    assert world.result() == (0.0, "answered 503 instead of 200")
    await world.interval()
    world.now = 107.0
    await world.answer(1)
    assert world.result() == (107.0, "")
    await world.interval()
    world.now = 109.0
    await world.answer(1)
    assert world.result() == (107.0, "")


@scenario
async def test_only_changes_are_reported(world: World) -> None:
    await world.update(ONE)
    changes = []
    for what in ("a", "a", "b", "", "", "c"):
        await world.answer(1, what)
        await world.interval()
        changes.append(world.changes)
    assert changes == [1, 1, 2, 3, 3, 4]


@scenario
async def test_wrong_answers_in_a_row_are_counted_and_enough_of_them_reported(world: World) -> None:
    wrong, counts = Answer("answered 500 instead of 200", wrong=True), []
    await world.update(ONE)
    for what in (wrong, wrong, Answer("did not answer"), *[wrong] * (FAIL_AFTER + 1)):
        world.now += 1.0
        await world.answer(1, what)
        await world.interval()
        shown = overlaid(ONE, world.prober.results.get(1))
        counts.append((shown.wrong_answers, shown.wrong_since, world.changes))
    assert counts[:4] == [(1, 101.0, 1), (2, 101.0, 1), (0, 0.0, 2), (1, 104.0, 3)]
    assert counts[-2:] == [(FAIL_AFTER, 104.0, 4), (FAIL_AFTER + 1, 104.0, 4)]


@scenario
async def test_a_failure_after_a_success_is_final(world: World) -> None:
    """Otherwise another success could hide it from the planner."""
    await world.update(ONE)
    await world.answer(1)
    await world.interval()
    await world.answer(1, "did not answer within 2 s")
    await world.interval()
    assert len(world.probed) == 2
    assert world.result() == (100.0, "did not answer within 2 s")
    await world.update(ONE)
    assert len(world.probed) == 2


@scenario
async def test_a_result_counts_for_its_invocation_only(world: World) -> None:
    await world.update(ONE)
    await world.answer(1)
    again = replace(ONE, invocation_id="id1b")
    assert world.result(again) == (0.0, "")
    world.invocations[1] = "id1b"
    await world.update(again)
    assert world.result(again) == (0.0, "")
    assert world.result(ONE) == (0.0, "")
    await world.answer(1, "x")
    assert world.result(again) == (0.0, "x")


@scenario
async def test_a_result_of_an_instance_that_was_restarted_meanwhile_is_discarded(world: World) -> None:
    await world.update(ONE)
    world.invocations[1] = "id1b"  # systemd has restarted it; its signals have not been read yet
    await world.answer(1)
    assert world.result() == (0.0, "")
    assert world.changes == 0


@scenario
async def test_an_instance_that_is_not_ready_has_no_result(world: World) -> None:
    await world.update(ONE)
    await world.answer(1)
    assert world.result(replace(ONE, state=State.STOPPING)) == (0.0, "")


@scenario
async def test_an_instance_that_is_no_longer_wanted_is_not_probed(world: World) -> None:
    await world.update(ONE, TWO)
    await world.answer(1)
    await world.update(TWO)
    await world.interval()
    assert len(world.probed) == 2
    assert world.result() == (0.0, "")
    await world.update()
    assert world.cancelled == [2]
    await world.update(TWO)
    assert world.probed[2:] == [("http", 2, RELEASE)]


@scenario
async def test_another_probe_or_release_starts_over(world: World) -> None:
    await world.update(ONE)
    await world.answer(1)
    await world.update(ONE, settings=replace(HTTP, instances=9))
    assert world.result() == (100.0, "")
    await world.update(ONE, release="/srv/web/2")
    assert world.result() == (0.0, "")
    await world.update(ONE, settings=COMMAND, release="/srv/web/2")
    assert world.probed[1:] == [("http", 1, "/srv/web/2"), ("command", 1, "/srv/web/2")]


@scenario
async def test_a_probe_that_could_not_run_has_no_result(world: World) -> None:
    await world.update(ONE)
    for trouble in (SystemdError("busy"), RuntimeError("bug")):
        await world.answer(1, trouble)
        assert world.result() == (0.0, "")
        await world.interval()
    world.unreachable = True
    await world.answer(1)
    assert world.result() == (0.0, "")
    world.unreachable = False
    await world.interval()
    await world.answer(1)
    assert world.result() == (100.0, "")


def test_stop_cancels_probes_under_way() -> None:
    async def main() -> None:
        world = World()
        await world.update(ONE, TWO)
        await world.answer(1)
        await world.prober.stop()
        assert world.cancelled == [2]
        assert world.result() == (0.0, "")
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize("invocation", ["", "id1"])
def test_an_instance_without_an_invocation_is_not_probed(invocation: str) -> None:
    async def main() -> None:
        world = World()
        await world.update(replace(ONE, invocation_id=invocation))
        assert bool(world.probed) is bool(invocation)
        await world.prober.stop()

    asyncio.run(main())


@scenario
async def test_probes_of_a_gate_have_a_beginning_and_calm_ones_have_none(world: World) -> None:
    for calm, began in ((0.0, 100.0), (10.0, math.inf)):
        await world.update(ONE, calm=calm)
        await world.answer(1)
        assert overlaid(ONE, world.prober.results.get(1)).probed_from == began


@scenario
async def test_calm_probes_never_end_and_count_failures_in_a_row(world: World) -> None:
    counted = []
    for answer in ("", "x", "x", "", "y"):
        await world.update(ONE, calm=10.0)
        await world.answer(1, answer)
        shown = overlaid(ONE, world.prober.results.get(1))
        counted.append(shown.probe_failures)
        await world.interval()
    assert counted == [0, 1, 2, 0, 1]
    assert world.slept == [10.0] * 5
    assert world.changes == 5
