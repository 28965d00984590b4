"""Whatever goes wrong at any call of a rollout: the control loop lives, and the rollout ends or says why it stands."""

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
    asyncio.CancelledError,  # of a future that somebody else gave up
)

Story = Callable[[SimulatedApp], Coroutine[None, None, None]]

pytestmark = pytest.mark.usefixtures("quick")


def run(directory: Path, faults: Injected, test: Story) -> None:
    async def work() -> None:
        app = SimulatedApp(directory, faults)
        try:
            await test(app)
        finally:
            await app.close()

    asyncio.run(work())


async def to_the_end(app: SimulatedApp, number: int = 2) -> str:
    """Roll a generation out, resumed where that stands; the result."""
    app.begin(number)
    app.faults.armed = True
    while (told := await app.event("paused", "finished"))["event"] == "paused":
        app.faults.armed = False
        assert told["reason"]
        assert app.controller.send(Event.RESUME)
    app.faults.armed = False
    assert app.result(number) == told["result"]
    assert app.history.rollout("demo") is None
    return str(told["result"])


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


def calls(directory: Path, story: Story) -> list[str]:
    """All that a rollout calls when nothing goes wrong."""
    faults = Injected()
    run(directory, faults, story)
    return faults.calls


@pytest.mark.parametrize("story", [deployed, rolled_out, rolled_back])
def test_a_fault_at_each_call(tmp_path: Path, story: Story, caplog: pytest.LogCaptureFixture) -> None:
    """Once, or three times in a row."""
    count = len(calls(tmp_path, story))
    assert count > 40
    errors = itertools.cycle(ERRORS)
    for at in range(1, count + 1):
        error, directory = next(errors), tmp_path / str(at)
        directory.mkdir()
        chosen = range(at, at + (1 if at % 2 else 3))
        faults = Injected(lambda number, _, chosen=chosen, error=error: error() if number in chosen else None)  # type: ignore[misc]
        caplog.clear()
        run(directory, faults, story)
        # All of it as the rollout's own, none as an exception that nobody looked at.
        assert "never retrieved" not in caplog.text
        assert "Exception in callback" not in caplog.text


def test_a_fault_that_stays_is_paused_for_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At every kind of call that a rollout makes; the traceback is logged once."""
    for label in sorted(Counter(calls(tmp_path, rolled_out))):
        directory = tmp_path / label
        directory.mkdir()
        faults = Injected(lambda _, called, label=label: KeyError(label) if called == label else None)  # type: ignore[misc]
        caplog.clear()

        async def test(app: SimulatedApp, label: str = label) -> None:
            await app.deploy()
            app.begin(2)
            app.faults.armed = True
            told = await app.event("paused", "finished")
            app.faults.armed = False
            if told["event"] == "paused":
                assert label in told["reason"], told
                assert app.controller.send(Event.RESUME)
                told = await app.event("finished")
            assert told["result"] == "succeeded", told

        run(directory, faults, test)
        assert caplog.text.count("Traceback") <= 2, label


def test_what_is_paused_for(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults("demo")
    assert faults.note(SystemdError("no"), rolling=True) is None
    full = StateError("full")
    assert faults.note(full, rolling=True) is full
    assert faults.note(full, rolling=False) is None
    caplog.clear()
    for _ in range(TRIES - 1):
        assert faults.note(KeyError("x"), rolling=True) is None
    assert "KeyError('x')" in str(faults.note(KeyError("x"), rolling=True))
    assert faults.note(KeyError("x"), rolling=True) is None, "a new start"
    assert caplog.text.count("unexpected error") == 1
