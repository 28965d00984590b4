"""A host that is drained around each rollout, on a simulated systemd: the daemon is killed at any call as well."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployd.model.generation import Cause, Result
from deployd.model.host_drain import RolloutDrain
from deployd.plan.transitions import Event
from tests.rollout.death import Death, Died
from tests.rollout.simulated_app import DEADLINE, NAME, Faults, SimulatedApp, quick  # noqa: F401 - a fixture

DRAINING = RolloutDrain(None, 0.01)
ACTIONS = ("Systemd.start", "Systemd.stop")
DRAIN, UNDRAIN = "HostDraining.begin_rollout", "HostDraining.end_rollout"
ALWAYS = (DRAIN, UNDRAIN, "History.begin_together", "History.finish_together")
OFTEN = ("Pins.read", "Pins.standby", "Deployment.is_opening", "History.generation", "History.settings")

pytestmark = pytest.mark.usefixtures("quick")


def good(_app: SimulatedApp) -> None:
    pass


def bad(app: SimulatedApp) -> None:
    app.break_generation(2)


SCENARIOS: dict[Callable[[SimulatedApp], None], tuple[Result, int]] = {
    good: (Result.SUCCEEDED, 2),
    bad: (Result.ROLLED_BACK, 1),
}


def main_calls(app: SimulatedApp) -> list[str]:
    """Return starts, stops, drains and their ends, in their order."""
    return [label for label in app.faults.calls if label in (*ACTIONS, DRAIN, UNDRAIN)]


async def deployed(directory: Path, faults: Faults, drain: RolloutDrain = DRAINING) -> SimulatedApp:
    app = SimulatedApp(directory, faults, rollout_drain=drain)
    await app.deploy()
    assert app.drains.of(NAME) is None, "a first deployment has no clients to lose"
    faults.armed = True
    return app


@pytest.mark.parametrize("prepare", SCENARIOS)
def test_the_host_is_drained_before_the_first_action_and_returns_after_the_last(
    tmp_path: Path, prepare: Callable[[SimulatedApp], None]
) -> None:
    times: dict[str, float] = {}

    def note(_count: int, label: str) -> None:
        times.setdefault(label, time.monotonic())

    async def test() -> None:
        app = await deployed(tmp_path, Faults(note))
        app.drains.drain(NAME, 1.0, "by hand")
        prepare(app)
        app.begin(2)
        assert (await app.event("finished"))["result"] == SCENARIOS[prepare][0]
        done = main_calls(app)
        assert (done[0], done[-1], done.count(DRAIN), done.count(UNDRAIN)) == (DRAIN, UNDRAIN, 1, 1)
        assert min(times[label] for label in ACTIONS if label in times) >= times[DRAIN] + DRAINING.wait
        assert app.drains.rollout(NAME) is None
        found = app.drains.of(NAME)
        assert found is not None
        assert found.reason == "by hand", "it stays"
        await app.close()

    asyncio.run(test())


@pytest.mark.parametrize("drain", [RolloutDrain(), RolloutDrain(frozenset({"shop"}))])
def test_a_host_that_is_not_to_be_drained_is_not(tmp_path: Path, drain: RolloutDrain) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults(), drain)
        app.begin(2)
        await app.event("finished")
        assert set(main_calls(app)) == set(ACTIONS)
        await app.close()

    asyncio.run(test())


def test_a_rollback_waits_for_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults(), RolloutDrain(None, 600.0))
        app.begin(2, Cause.ROLLBACK)
        assert (await app.event("finished"))["result"] == Result.SUCCEEDED
        assert set(main_calls(app)) == set(ACTIONS)
        await app.close()

    asyncio.run(test())


def test_a_pause_ends_the_drain(tmp_path: Path) -> None:
    async def test() -> None:
        app = await deployed(tmp_path, Faults(), RolloutDrain(None, 600.0))
        app.begin(2)
        waiting = await app.event("waiting")
        assert waiting["reason"] == f"load balancers to notice that {NAME} is drained on this host (600 s)"
        assert app.drains.rollout(NAME) is not None
        assert app.controller.send(Event.PAUSE, "paused by request")
        async with asyncio.timeout(DEADLINE):
            while app.drains.rollout(NAME) is not None:
                await asyncio.sleep(0)
        assert app.controller.send(Event.RESUME)
        await app.event("waiting")
        assert main_calls(app) == [DRAIN, UNDRAIN, DRAIN], "nothing is started or stopped meanwhile"
        assert app.controller.send(Event.ABORT, "aborted by request")
        assert (await app.event("finished"))["result"] == Result.ABORTED
        assert app.drains.rollout(NAME) is None
        await app.close()

    asyncio.run(test())


def calls(directory: Path, prepare: Callable[[SimulatedApp], None]) -> list[str]:
    """Return the calls of a rollout that is not disturbed."""

    async def test() -> list[str]:
        app = await deployed(directory, Faults())
        prepare(app)
        app.begin(2)
        await app.event("finished")
        found = list(app.faults.calls)
        await app.close()
        return found

    directory.mkdir()
    return asyncio.run(test())


async def killed_at(directory: Path, prepare: Callable[[SimulatedApp], None], at: int) -> None:
    """Kill the daemon at a call, start another one, and check where rollout and drain end."""
    death = Death(at)
    app = await deployed(directory, death)
    prepare(app)
    with contextlib.suppress(Died):
        app.begin(2)
        await death.wait(app)
    death.armed = False
    with contextlib.suppress(Died):
        await app.controller.stop()
    app.history.close()
    following = SimulatedApp(directory, Faults(), known=app.systemd, rollout_drain=DRAINING)
    prepare(following)
    going = following.history.rollout(NAME) is not None
    following.controller.start()
    await following.controller.ready()
    if going:
        await following.event("finished")
        result, live = SCENARIOS[prepare]
        assert (following.result(2), following.history.current(NAME)) == (result, live)
    async with asyncio.timeout(DEADLINE):
        while following.drains.rollout(NAME) is not None:
            await asyncio.sleep(0)
    await following.close()


@pytest.mark.sampled
@pytest.mark.timeout(300)
@pytest.mark.parametrize("prepare", SCENARIOS)
def test_a_daemon_killed_at_any_call_leaves_no_drain(tmp_path: Path, prepare: Callable[[SimulatedApp], None]) -> None:
    labels = calls(tmp_path / "alive", prepare)
    assert labels.count(DRAIN) == labels.count(UNDRAIN) == 1
    for at, label in enumerate(labels, 1):
        if label in OFTEN or (at % 4 and label not in ALWAYS):
            continue
        (tmp_path / str(at)).mkdir()
        asyncio.run(killed_at(tmp_path / str(at), prepare, at))
