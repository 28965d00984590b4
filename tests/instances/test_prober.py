"""Who is asked, how often, and which answers count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from deployd.errors import SystemdError
from deployd.instances.prober import Prober
from deployd.model.app import App
from deployd.model.gate import Gate, Probe
from deployd.model.instance import Instance, State

HTTP = App("web", "/srv/web", ("/bin/web",), (), gate=Gate(probe=Probe(http="/_status")))
COMMAND = replace(HTTP, gate=Gate(probe=Probe(command=("bin/check",), expect=0)))
RELEASE = "/srv/web/1"
ONE, TWO = (Instance(number, 1, State.READY, invocation_id=f"id{number}", main_pid=number) for number in (1, 2))


class World:
    """Questions whose answers the test gives, systemd's present invocations, and a clock that the test moves."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self.cancelled: list[int] = []
        self.invocations = {1: "id1", 2: "id2"}
        self.unreachable = False
        self.now = 100.0
        self.slept: list[float] = []
        self.changes = 0
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._naps: list[asyncio.Future[None]] = []
        self.prober = Prober(
            self._ask("http"),
            self._ask("command"),
            self._present,
            self._changed,
            clock=lambda: self.now,
            sleep=self._nap,
        )

    def _ask(self, kind: str) -> Callable[[App, Instance, str], Awaitable[str]]:
        async def ask(_app: App, instance: Instance, release: str) -> str:
            self.asked.append((kind, instance.number, release))
            future = self._answers[instance.number] = asyncio.get_running_loop().create_future()
            try:
                answer: str = await future
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

    async def answer(self, number: int, what: str | Exception = "") -> None:
        """Let the question to `number` be answered, and its interval begin."""
        future = self._answers.pop(number)
        future.set_exception(what) if isinstance(what, Exception) else future.set_result(what)
        await settle()

    async def interval(self) -> None:
        """Let all intervals be over."""
        naps, self._naps = self._naps, []
        for nap in naps:
            if not nap.done():
                nap.set_result(None)
        await settle()

    async def update(self, *wanted: Instance, settings: App = HTTP, release: str = RELEASE) -> None:
        self.prober.update(settings, release, wanted)
        await settle()

    def said(self, item: Instance = ONE) -> tuple[float, str]:
        (shown,) = self.prober.overlay([item])
        assert replace(shown, probed_since=0.0, probe_error="") == item
        return shown.probed_since, shown.probe_error


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def story(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            world = World()
            await test(world)
            await world.prober.stop()
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@story
async def test_each_is_asked_at_once_and_again_after_the_interval(world: World) -> None:
    await world.update(ONE, TWO)
    assert world.asked == [("http", 1, RELEASE), ("http", 2, RELEASE)]
    await world.interval()
    assert len(world.asked) == 2  # never two questions to one
    await world.answer(1, "answered 503 instead of 200")
    assert world.slept == [0.25]
    await world.interval()
    assert world.asked[2:] == [("http", 1, RELEASE)]


@story
async def test_a_command_is_asked_by_the_other_question(world: World) -> None:
    await world.update(ONE, settings=COMMAND)
    assert world.asked == [("command", 1, RELEASE)]


@story
async def test_without_a_probe_nobody_is_asked(world: World) -> None:
    await world.update(ONE, settings=replace(HTTP, gate=Gate()))
    assert world.asked == []


@story
async def test_the_first_good_answer_is_remembered_with_its_time(world: World) -> None:
    await world.update(ONE)
    assert world.said() == (0.0, "")
    await world.answer(1, "answered 503 instead of 200")
    assert world.said() == (0.0, "answered 503 instead of 200")
    await world.interval()
    world.now = 107.0
    await world.answer(1)
    assert world.said() == (107.0, "")
    await world.interval()
    world.now = 109.0
    await world.answer(1)
    assert world.said() == (107.0, "")


@story
async def test_only_what_is_new_is_told(world: World) -> None:
    await world.update(ONE)
    changes = []
    for what in ("a", "a", "b", "", "", "c"):
        await world.answer(1, what)
        await world.interval()
        changes.append(world.changes)
    assert changes == [1, 1, 2, 3, 3, 4]


@story
async def test_a_bad_answer_after_a_good_one_is_final(world: World) -> None:
    """The next good answer may come before the planner looks."""
    await world.update(ONE)
    await world.answer(1)
    await world.interval()
    await world.answer(1, "did not answer within 2 s")
    await world.interval()
    assert len(world.asked) == 2
    assert world.said() == (100.0, "did not answer within 2 s")
    await world.update(ONE)
    assert len(world.asked) == 2


@story
async def test_an_answer_counts_for_its_invocation_only(world: World) -> None:
    await world.update(ONE)
    await world.answer(1)
    again = replace(ONE, invocation_id="id1b")
    assert world.said(again) == (0.0, "")
    world.invocations[1] = "id1b"
    await world.update(again)
    assert world.said(again) == (0.0, "")
    assert world.said(ONE) == (0.0, "")
    await world.answer(1, "x")
    assert world.said(again) == (0.0, "x")


@story
async def test_an_answer_of_one_that_was_restarted_meanwhile_is_discarded(world: World) -> None:
    await world.update(ONE)
    world.invocations[1] = "id1b"  # systemd has restarted it, and its signals have not been read yet
    await world.answer(1)
    assert world.said() == (0.0, "")
    assert world.changes == 0


@story
async def test_what_is_not_ready_shows_no_answers(world: World) -> None:
    await world.update(ONE)
    await world.answer(1)
    assert world.said(replace(ONE, state=State.STOPPING)) == (0.0, "")


@story
async def test_who_is_not_wanted_any_more_is_left_alone(world: World) -> None:
    await world.update(ONE, TWO)
    await world.answer(1)
    await world.update(TWO)
    await world.interval()
    assert len(world.asked) == 2
    assert world.said() == (0.0, "")
    await world.update()
    assert world.cancelled == [2]
    await world.update(TWO)
    assert world.asked[2:] == [("http", 2, RELEASE)]


@story
async def test_another_probe_or_release_begins_anew(world: World) -> None:
    await world.update(ONE)
    await world.answer(1)
    await world.update(ONE, settings=replace(HTTP, instances=9))
    assert world.said() == (100.0, "")
    await world.update(ONE, release="/srv/web/2")
    assert world.said() == (0.0, "")
    await world.update(ONE, settings=COMMAND, release="/srv/web/2")
    assert world.asked[1:] == [("http", 1, "/srv/web/2"), ("command", 1, "/srv/web/2")]


@story
async def test_what_could_not_be_asked_says_nothing(world: World) -> None:
    await world.update(ONE)
    for trouble in (SystemdError("busy"), RuntimeError("bug")):
        await world.answer(1, trouble)
        assert world.said() == (0.0, "")
        await world.interval()
    world.unreachable = True
    await world.answer(1)
    assert world.said() == (0.0, "")
    world.unreachable = False
    await world.interval()
    await world.answer(1)
    assert world.said() == (100.0, "")


def test_stop_takes_back_what_is_under_way() -> None:
    async def main() -> None:
        world = World()
        await world.update(ONE, TWO)
        await world.answer(1)
        await world.prober.stop()
        assert world.cancelled == [2]
        assert world.said() == (0.0, "")
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize("invocation", ["", "id1"])
def test_an_instance_without_an_invocation_cannot_be_asked(invocation: str) -> None:
    async def main() -> None:
        world = World()
        await world.update(replace(ONE, invocation_id=invocation))
        assert bool(world.asked) is bool(invocation)
        await world.prober.stop()

    asyncio.run(main())
