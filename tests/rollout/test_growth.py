"""What one replaced instance costs, counted without a clock, and how that grows with the number of instances."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from deployd.instances import listening
from deployd.model.instance import Listener
from tests.calls import Calls
from tests.rollout.simulated_app import DEADLINE, Faults, SimulatedApp, quick  # noqa: F401 - a fixture

FEW, MANY = 8, 64

pytestmark = pytest.mark.usefixtures("quick")


async def looked_at(app: SimulatedApp, instances: int) -> None:
    """Wait until the listeners of all instances were looked at once, which is no cost of the next rollout."""
    listening = app.controller._observer._listening
    async with asyncio.timeout(DEADLINE):
        while sum(item.listener is not Listener.UNSEEN for item in listening._records.values()) < instances:
            await asyncio.sleep(0)


def replaced(directory: Path, instances: int) -> tuple[Calls, Counter[str]]:
    """Return the calls of a rollout of so many instances, in the daemon and of its parts with side effects."""
    directory.mkdir()
    calls, faults = Calls(), Faults()

    async def work() -> None:
        app = SimulatedApp(directory, faults, instances)
        try:
            await app.deploy()
            await looked_at(app, instances)
            app.begin(2)
            faults.armed = True
            sys.setprofile(calls)
            result = (await app.event("finished"))["result"]
            sys.setprofile(None)
            assert result == "succeeded"
        finally:
            sys.setprofile(None)
            await app.close()

    asyncio.run(work())
    return calls, Counter(faults.calls)


def test_an_instance_among_many_costs_hardly_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the control loop costs what has changed; passes over all instances are those of dict and list."""
    monkeypatch.setattr(listening, "INTERVAL", 100 * DEADLINE)  # a slow rollout would have a look at all instances
    few, some = replaced(tmp_path / "few", FEW)
    many, more = replaced(tmp_path / "many", MANY)
    for label in some.keys() | more.keys():
        assert more[label] / MANY <= 1.25 * some[label] / FEW + 0.5, f"{label}: {more[label]} calls"
    assert many["planner.plan"] / MANY <= min(1.1 * few["planner.plan"] / FEW, 7)
    assert many["reconciler._turn"] / MANY < 9, "turns: not one for each signal of systemd"
    assert many["workers.with_work"] / MANY < 5, "what is looked at in threads"
    assert many["source.read"] / MANY < 2, "reads of the database"
    # Nothing is made anew for an instance that has not changed.
    for made in ("observe.instance", "listening.overlaid", "prober.overlaid"):
        assert many[made] / MANY <= 1.25 * few[made] / FEW, f"{made}: {many[made]} calls"
    growth = (sum(many.values()) / MANY - sum(few.values()) / FEW) / (MANY - FEW)
    assert growth < 1.5, f"{growth:.0f} calls more per replaced instance for each instance that the app has"
