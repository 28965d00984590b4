"""What is read before a rollback starts instances: memory of running ones, past boots, processors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from deployd.errors import SystemdError
from deployd.instances import resources
from deployd.instances.resources import SAMPLE, ResourceReader
from deployd.model.instance import Instance
from deployd.plan.goal import Goal
from deployd.plan.surge import Pool, Resources
from deployd.state.history import History
from deployd.systemd import memory
from tests.plan.worlds import failed, idle, ready, resting, starting, stopping

POOLS = (Pool(100, 50),)


class Units:
    """Reads of systemd: instance N is in the cgroup /N."""

    def __init__(self, *, broken: bool = False) -> None:
        self.asked: list[str] = []
        self.broken = broken

    async def read(self, unit: str, _interface: str, _names: Iterable[str]) -> dict[str, str]:
        self.asked.append(unit)
        if self.broken:
            raise SystemdError("no answer")
        return {"ControlGroup": "/" + unit.partition("@")[2].partition(".")[0]}


def read(monkeypatch: pytest.MonkeyPatch, instances: list[Instance], units: Units, goal: Goal) -> Resources:
    history = create_autospec(History, instance=True)
    history.boots.return_value = [2.0, 1.0]
    monkeypatch.setattr(memory, "demand", lambda group: int(group[1:]) * 10 if group else None)
    monkeypatch.setattr(memory, "pools", lambda _group: POOLS)
    monkeypatch.setattr(resources, "cpu_seconds", lambda group: 0.5 if group == "/1" else None)
    return asyncio.run(ResourceReader("shop", units, history).read(goal, instances))  # type: ignore[arg-type]


def test_instances_of_the_good_generation_tell_what_one_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    units, goal = Units(), Goal(4, 8, same=frozenset({2}))
    there = [ready(1, 4), resting(2, 2), ready(3, 5), starting(4, 4), failed(5, 4), stopping(6, 5), resting(7, 3)]
    assert read(monkeypatch, [*there, idle(8, 4)], units, goal) == Resources(
        2, POOLS, settled=4, own=(10, 20), processors=os.cpu_count() or 1, boots=(2.0, 1.0), busy=(0.5,)
    )
    assert units.asked == ["shop@1.service", "shop@2.service"]


def test_otherwise_those_that_serve_do_and_only_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    units = Units()
    found = read(monkeypatch, [resting(99, 3), *(ready(number, 5) for number in range(1, 64))], units, Goal(4, 64))
    assert (found.useful, found.settled, found.own, found.others) == (
        63,
        63,
        (),
        tuple(range(10, 10 * (SAMPLE + 1), 10)),
    )


def test_a_rollback_waits_for_nothing_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, [ready(1, 5)], Units(broken=True), Goal(4, 1))
    assert (found.useful, found.own, found.others, found.settled) == (1, (), (), 1)
    assert read(monkeypatch, [], Units(), Goal(4, 1)).pools == ()


def test_an_instance_of_this_machine_has_memory(tmp_path: Path) -> None:
    own = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1].rpartition(":")[2]
    assert all(pool.size >= pool.free >= 0 for pool in memory.pools(own))
    assert memory.pools(own, meminfo=tmp_path / "none") == memory.pools(own)[1:]
