"""A rollback starts its instances at the same time, by the real control loop on a simulated systemd."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployd.errors import StateError
from deployd.instances.resources import ResourceReader
from deployd.model.generation import Cause, Result
from deployd.plan.surge import Pool, Resources
from deployd.systemd import memory
from tests.rollout.simulated_app import Faults, SimulatedApp, quick  # noqa: F401 - a fixture

INSTANCES = 6

pytestmark = pytest.mark.usefixtures("quick")


def ample(monkeypatch: pytest.MonkeyPatch, available: int = 1000) -> None:
    """Have the machine so much memory available, where each instance uses 1."""

    async def read(_reader: ResourceReader, *_: object) -> Resources:
        return Resources(INSTANCES, (Pool(available, available),), settled=INSTANCES, own=(1,), processors=1)

    monkeypatch.setattr(ResourceReader, "read", read)


async def started(app: SimulatedApp, generation: int) -> tuple[int, int]:
    """Return how many instances of a generation are started until a rollout has finished, and how many of them boot at
    the same time."""
    starting, most, count = set[int](), 0, 0
    while (event := await app.event("instance", "finished"))["event"] == "instance":
        if event["generation"] == generation and event["state"] == "starting":
            starting.add(event["instance"])
            count += 1
        elif event["generation"] == generation:
            starting.discard(event["instance"])
        most = max(most, len(starting))
    assert event["result"] in ("succeeded", "rolled-back"), event
    return count, most


def back(directory: Path, cause: Cause = Cause.ROLLBACK, faults: Faults | None = None) -> int:
    """Return how many instances boot at the same time in a rollout to generation 3."""

    async def work() -> int:
        app = SimulatedApp(directory, faults or Faults(), INSTANCES)
        try:
            await app.deploy()
            app.begin(2)
            assert await started(app, 2) == (INSTANCES, 1)
            app.faults.armed = True
            app.begin(3, cause)
            count, most = await started(app, 3)
            assert count == INSTANCES
            assert set(app.running().values()) == {3}
            assert app.result(3) is Result.SUCCEEDED
            return most
        finally:
            await app.close()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("cause", "most"), [(Cause.ROLLBACK, INSTANCES), (Cause.WATCH, INSTANCES), (Cause.ROLLOUT, 1), (Cause.RESTART, 1)]
)
def test_a_rollback_starts_all_of_its_instances_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Cause, most: int
) -> None:
    ample(monkeypatch)
    assert back(tmp_path, cause) == most


def test_it_starts_as_many_as_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ample(monkeypatch, available=4)
    assert back(tmp_path) == 4


def test_it_starts_one_after_another_if_memory_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "demand", lambda _group: None)
    assert back(tmp_path) == 1


def test_units_that_cannot_be_written_make_it_slower_but_do_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app unit wants as many numbers as may run; where the disk is full, it stays as it is."""
    ample(monkeypatch)
    installs: list[str] = []

    def once(_count: int, label: str) -> StateError | None:
        if label == "Deployment.install":
            installs.append(label)
            return StateError("the disk is full") if len(installs) == 1 else None
        return None

    assert back(tmp_path, faults=Faults(once)) == 1
    assert len(installs) == 2


def test_an_automatic_rollback_starts_what_was_stopped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ample(monkeypatch)

    async def work() -> None:
        app = SimulatedApp(tmp_path, Faults(), INSTANCES)
        try:
            await app.deploy()
            app.begin(2)
            for _ in range(3):
                while (await app.event("instance"))["state"] != "stopped":
                    pass
            app.break_generation(2)
            count, most = await started(app, 1)
            assert count == most >= 3
            assert app.result(2) is Result.ROLLED_BACK
        finally:
            await app.close()

    asyncio.run(work())
