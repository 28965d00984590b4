"""Which old instance is stopped first: of the newest old generation the one started last, or the reverse."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, Stage
from tests.host.unit_journal import What


def started(stage: Stage, number: int) -> int:
    """Return when the present start of an instance began, by systemd's clock."""
    name = "InactiveExitTimestampMonotonic"
    return int(stage.show(f"{APP}@{number}.service", name)[name])


def stops(stage: Stage) -> list[int]:
    return [change.instance for change in stage.journal.changes() if change.what is What.STOPPING]


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["newest-old-first", "oldest-first"])
def test_instances_of_a_generation_are_stopped_in_order_of_their_starts(stage: Stage, order: str) -> None:
    stage.deploy("v1", rollout={"order": order})
    for number in (3, 1):  # their starts are now the latest
        stage.machine.run(["systemctl", "restart", f"{APP}@{number}.service"])
    expected = sorted(stage.invocations(), key=lambda number: started(stage, number))
    assert expected[2:] == [3, 1]
    if order == "newest-old-first":
        expected.reverse()
    stage.journal.restart()
    ended = stage.rollout(stage.release("v2"))
    assert ended.result == "succeeded"
    assert stops(stage) == expected
    assert [number for number, _ in ended.instances("stopping")] == expected
    assert ended.finished["replaced"] == expected
    assert stage.history()[0]["replaced"] == expected


@pytest.mark.sampled
@pytest.mark.parametrize("order", ["newest-old-first", "oldest-first"])
def test_the_newest_old_generation_is_stopped_first(stage: Stage, order: str) -> None:
    """A rollback that fails leaves instances of both generations."""
    stage.deploy("v1", rollout={"order": order}, gate={"timeout": "5s"})
    with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
        for _ in range(2):
            stage.admit(begun.until("instance", state="starting")["instance"])
            begun.until("instance", state="ready")
        begun.until("instance", state="stopped")
        stage.release("v1", "crash")
        assert stage.deployd("abort", APP).returncode == 0
        begun.until("paused", pause="stranded")
    stage.release("v1")
    before = stage.invocations()
    assert {ran.generation for ran in before.values()} == {1, 2}

    oldest_first = sorted(before, key=lambda number: (before[number].generation, started(stage, number)))
    expected = oldest_first if order == "oldest-first" else oldest_first[::-1]
    stage.journal.restart()
    assert stage.change("rollout", "--release", stage.release("v3"), "--supersede").result == "succeeded"
    assert [number for number in stops(stage) if number in before] == expected
    assert {ran.generation for ran in stage.invocations().values()} == {3}
