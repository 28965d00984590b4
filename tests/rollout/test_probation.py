"""The probation of a generation: when it is taken back, when a failure is only reported, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.errors import Busy, Refused, StateError
from deployd.instances import prober
from deployd.instances.prober import Prober
from deployd.model.crashes import Crash
from deployd.model.failure import GateName
from deployd.model.gate import Gate, Probe
from deployd.model.generation import Result
from deployd.model.instance import Instance
from deployd.plan import probation as rules
from deployd.rollout import probation
from deployd.state.history import History
from tests.rollout.simulated_app import Faults, SimulatedApp, quick  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("quick", "soon")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SETTLING", 0.01)
    monkeypatch.setattr(probation, "RETRY", 0.01)


def run(directory: Path, test: Callable[[SimulatedApp], Awaitable[None]]) -> None:
    async def work() -> None:
        app = SimulatedApp(directory, Faults())
        try:
            await app.deploy()
            await test(app)
        finally:
            await app.close()

    asyncio.run(work())


async def second(app: SimulatedApp) -> None:
    """Make generation 2 live."""
    app.begin(2)
    finished = await app.event("finished")
    assert (finished["result"], finished["watched_until"] is not None) == ("succeeded", True)
    started = await app.event("watch")
    assert (started["generation"], started["state"], started["reason"]) == (2, "started", "")


async def crash_often(app: SimulatedApp, *numbers: int) -> None:
    """Have the instances crash one after the other, each noticed."""
    for number in numbers:
        before = len(app.history.logged_crashes("demo", boot(app)))
        app.crash(number)
        async with asyncio.timeout(30):
            while len(app.history.logged_crashes("demo", boot(app))) == before:
                await asyncio.sleep(0)


def boot(app: SimulatedApp) -> str:
    found = app.history.probation("demo")
    assert found is not None
    return found.boot


def test_it_is_taken_back_and_the_rollback_is_only_reported(tmp_path: Path) -> None:
    async def test(app: SimulatedApp) -> None:
        await second(app)
        numbers = sorted(app.running())
        await crash_often(app, *numbers, numbers[0])
        back = await app.event("taken-back")
        assert (back["generation"], back["by"]) == (2, 3)
        ((generation, reason),) = app.taken_back
        assert (generation, "crashed 3 times within" in reason) == (2, True)
        bad = app.history.generation("demo", 2)
        assert bad is not None
        assert bad.failure is not None
        assert (bad.result, bad.reason, bad.failure.gate) == (Result.SUCCEEDED, reason, GateName.WATCH)

        assert (await app.event("watch"))["reason"] == "it is a rollback already"
        numbers = sorted(app.running())
        await crash_often(app, *numbers, numbers[0])
        failed = await app.event("watch")
        assert (failed["generation"], failed["state"]) == (3, "failed")
        assert failed["reason"].endswith("generation 3 stays live: it is a rollback already")
        assert len(app.taken_back) == 1
        assert app.controller.watched() is None
        assert not app.controller.accept()

    run(tmp_path, test)


def test_a_failure_of_the_first_deployment_is_reported(tmp_path: Path) -> None:
    async def test(app: SimulatedApp) -> None:
        await app.event("watch")
        await crash_often(app, 1, 2, 1)
        assert (await app.event("watch"))["reason"].endswith("stays live: there is no generation before it")
        assert set(app.running().values()) == {1}
        assert not app.taken_back

    run(tmp_path, test)


def test_what_may_pass_is_tried_again_and_what_will_not_is_reported(tmp_path: Path) -> None:
    async def test(app: SimulatedApp) -> None:
        await second(app)
        app.refusals = [Busy("hooks are running"), StateError("the disk is full"), Refused("the release is gone")]
        numbers = sorted(app.running())
        await crash_often(app, *numbers, numbers[0])
        assert (await app.event("watch"))["reason"].endswith("generation 2 stays live: the release is gone")
        assert len(app.taken_back) == 3

    run(tmp_path, test)


def test_a_rollback_that_fails_is_not_repeated(tmp_path: Path) -> None:
    async def test(app: SimulatedApp) -> None:
        await second(app)
        app.break_generation(3)
        numbers = sorted(app.running())
        await crash_often(app, *numbers, numbers[0])
        assert (await app.event("finished"))["result"] == "rolled-back"
        found = app.history.probation("demo")
        assert found is not None
        assert "generation 2 stays live: generation 3 ended rolled-back: instance" in found.failed
        assert set(app.running().values()) == {2}
        assert len(app.taken_back) == 1

    run(tmp_path, test)


def test_a_rollout_that_fails_leaves_the_probation_of_the_generation_that_stays(tmp_path: Path) -> None:
    async def test(app: SimulatedApp) -> None:
        await second(app)
        before = app.controller.watched()
        app.break_generation(3)
        app.begin(3)
        assert (await app.event("finished"))["result"] == "rolled-back"
        assert app.controller.watched() == before is not None

    run(tmp_path, test)


def test_it_ends_when_its_time_is_over_or_by_request(tmp_path: Path) -> None:
    async def test(app: SimulatedApp) -> None:
        await second(app)
        assert app.controller.accept()
        assert (await app.event("watch"))["state"] == "accepted"
        assert app.history.probation("demo") is None
        app.begin(3)
        await app.event("watch")
        found = app.controller.watched()
        assert found is not None
        app.history.put_on_probation(replace(found, until=found.began))
        app.controller.take_up()  # as after a restart of the daemon
        assert (await app.event("watch"))["state"] == "ended"
        assert app.controller.watched() is None

    run(tmp_path, test)


def test_live_instances_are_probed_calmly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[int], float]] = []

    bad = prober.Result(probe_failures=3, probe_error="answered 500 instead of 200")

    def probe(itself: Prober, _settings: object, _release: str, wanted: list[Instance], calm: float = 0.0) -> None:
        asked.append(([item.number for item in wanted], calm))
        itself.results = {item.number: (item.invocation_id, bad) for item in wanted}

    async def test(app: SimulatedApp) -> None:
        await second(app)
        found = app.history.generation("demo", 2)
        assert found is not None
        probed = replace(found.settings, gate=Gate(probe=Probe(http="/_status")))
        monkeypatch.setattr(History, "generation", lambda *_: replace(found, settings=probed))
        monkeypatch.setattr(Prober, "update", probe)
        app.controller.wake()
        while not asked:
            await asyncio.sleep(0)
        app.controller.wake()
        started = await app.event("started")
        assert started["reason"] == ""
        assert asked[0] == (sorted(app.running()), 10.0)
        ((_, reason),) = app.taken_back
        numbers = ", ".join(map(str, asked[0][0]))
        assert reason == f"instances {numbers} failed 3 probes in a row after the rollout: answered 500 instead of 200"

    run(tmp_path, test)


def test_an_app_that_was_stopped_is_not_started_by_taking_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SETTLING", 0.0)

    async def test(app: SimulatedApp) -> None:
        await second(app)
        app.systemd.units["demo.service"] = app.systemd.down()
        found = app.controller.watched()
        assert found is not None
        app.history.log_crashes("demo", found.boot, [Crash(1, 2, found.began)] * 9)
        app.systemd.changed("demo.service")
        for _ in range(100):
            await asyncio.sleep(0)
        assert not app.taken_back
        app.systemd.units["demo.service"] = app.systemd.up()
        app.systemd.changed("demo.service")
        await app.event("taken-back")

    run(tmp_path, test)
