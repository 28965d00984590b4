"""An error at any call of a rollout: the control loop survives, and the rollout ends or pauses with a reason."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from deployd.errors import StateError, SystemdError
from deployd.model.generation import Result
from deployd.plan.transitions import Event
from deployd.rollout.faults import TRIES, Faults
from tests.rollout.simulated_app import Faults as Injected
from tests.rollout.simulated_app import SimulatedApp, quick  # noqa: F401 - a fixture

ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: RuntimeError("no reason"),
    lambda: OSError(5, "I/O"),
    lambda: KeyError("gone"),
    asyncio.CancelledError,  # of a future that was cancelled elsewhere
)

OFTEN = ("Pins.read", "Pins.standby", "Deployment.is_opening")
"""Made several times in each turn of the control loop."""

Scenario = Callable[[SimulatedApp], Coroutine[None, None, None]]

pytestmark = pytest.mark.usefixtures("quick")


def run(directory: Path, faults: Injected, test: Scenario) -> None:
    async def work() -> None:
        app = SimulatedApp(directory, faults)
        try:
            await test(app)
        finally:
            await app.close()

    asyncio.run(work())


async def to_the_end(app: SimulatedApp, number: int = 2) -> str:
    """Roll out a generation, resume it whenever it pauses, and return the result."""
    app.begin(number)
    app.faults.armed = True
    while (event := await app.event("paused", "finished"))["event"] == "paused":
        app.faults.armed = False
        assert event["reason"]
        assert app.controller.send(Event.RESUME)
    app.faults.armed = False
    assert app.result(number) == event["result"]
    assert app.history.rollout("demo") is None
    return str(event["result"])


async def deployed(app: SimulatedApp) -> None:
    app.controller.start()
    await app.controller.ready()
    assert await to_the_end(app, 1) == Result.SUCCEEDED
    assert sorted(app.running().values()) == [1, 1]


async def rolled_out(app: SimulatedApp) -> None:
    await app.deploy()
    assert await to_the_end(app) == Result.SUCCEEDED
    assert sorted(app.running().values()) == [2, 2]


async def rolled_back(app: SimulatedApp) -> None:
    await app.deploy()
    app.break_generation(2)
    assert await to_the_end(app) == Result.ROLLED_BACK
    assert sorted(app.running().values()) == [1, 1]


def calls(directory: Path, scenario: Scenario) -> list[str]:
    """Return all calls of a rollout without errors."""
    faults = Injected()
    run(directory, faults, scenario)
    return faults.calls


@pytest.mark.sampled
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", [deployed, rolled_out, rolled_back])
def test_a_fault_at_each_call(tmp_path: Path, scenario: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    """The error occurs once, or three times in a row. Of the calls of every turn, each fourth one fails."""
    labels = calls(tmp_path, scenario)
    assert len(labels) > 40
    errors = itertools.cycle(ERRORS)
    for at in (at for at, label in enumerate(labels, 1) if label not in OFTEN or labels[:at].count(label) % 4 == 1):
        error, directory = next(errors), tmp_path / str(at)
        directory.mkdir()
        chosen = range(at, at + (1 if at % 2 else 3))
        faults = Injected(lambda number, _, chosen=chosen, error=error: error() if number in chosen else None)  # type: ignore[misc]
        caplog.clear()
        run(directory, faults, scenario)
        # Every error is handled by the controller; none is left in a task or callback.
        assert "never retrieved" not in caplog.text
        assert "Exception in callback" not in caplog.text


@pytest.mark.thorough
def test_a_lasting_error_pauses_the_rollout_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """This holds for every kind of call that a rollout makes; the traceback is logged once."""
    for label in sorted(Counter(calls(tmp_path, rolled_out))):
        directory = tmp_path / label
        directory.mkdir()
        faults = Injected(lambda _, called, label=label: KeyError(label) if called == label else None)  # type: ignore[misc]
        caplog.clear()

        async def test(app: SimulatedApp, label: str = label) -> None:
            await app.deploy()
            app.begin(2)
            app.faults.armed = True
            event = await app.event("paused", "finished")
            app.faults.armed = False
            if event["event"] == "paused":
                assert label in event["reason"], event
                assert app.controller.send(Event.RESUME)
                event = await app.event("finished")
            assert event["result"] == "succeeded", event

        run(directory, faults, test)
        assert caplog.text.count("Traceback") <= 2, label


def test_which_errors_pause_a_rollout(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults("demo")
    assert faults.note(SystemdError("no"), rolling=True) is None
    full = StateError("full")
    assert faults.note(full, rolling=True) is full
    assert faults.note(full, rolling=False) is None
    caplog.clear()
    for _ in range(TRIES - 1):
        assert faults.note(KeyError("x"), rolling=True) is None
    assert "KeyError('x')" in str(faults.note(KeyError("x"), rolling=True))
    assert faults.note(KeyError("x"), rolling=True) is None, "the count starts again"
    assert caplog.text.count("unexpected error") == 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_daemon_answers_for_an_app_after_its_first_turn_even_if_that_failed(tmp_path: Path, fails: bool) -> None:
    async def observed(app: SimulatedApp) -> None:
        app.faults.armed = True
        app.controller.start()
        async with asyncio.timeout(30):
            await app.controller.observed()

    unreadable = {"History.current": StateError("the history cannot be read")} if fails else {}
    run(tmp_path, Injected(lambda _, label: unreadable.get(label)), observed)
