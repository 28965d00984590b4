"""Which signals of a unit matter: those after which the plan may be another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployd.instances.instance_mirror import InstanceMirror
from deployd.model.action import Start, Stop
from deployd.model.instance import State
from deployd.state.drains import DrainRecord
from deployd.state.pins import Pins

UNIT = "demo@1.service"
READY = {"ActiveState": "active", "SubState": "running", "MainPID": 9, "ActiveEnterTimestampMonotonic": 5_000_000}
DYING = {"ActiveState": "deactivating", "SubState": "stop-sigterm", "MainPID": 9}
DEAD = {"ActiveState": "inactive", "SubState": "dead", "MainPID": 0}
BOOTING = {"ActiveState": "activating", "SubState": "start", "MainPID": 0}


class Systemd:
    """Has the mirror of one unit."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, Any]] = {}
        self.revision = 0

    def set(self, **properties: Any) -> None:
        self.units[UNIT] = {**self.units.get(UNIT, {}), **properties}
        self.revision += 1

    def properties(self, unit: str) -> dict[str, Any]:
        return self.units.get(unit, {})

    def mirrored(self, units: Any) -> list[dict[str, Any]]:
        return [self.properties(unit) for unit in units]


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path)


@pytest.fixture
def mirror(pins: Pins, systemd: Systemd) -> InstanceMirror:
    pins.write_generation("demo", 3, {}, "/srv/demo")
    pins.pin("demo", 1, 3)
    systemd.set(**READY)
    made = InstanceMirror("demo", systemd, pins)  # type: ignore[arg-type]
    assert made.has_changed(1), "it was never seen"
    assert [item.state for item in made.observe({})] == [State.READY]
    return made


def test_a_signal_that_means_nothing_does_not_matter(mirror: InstanceMirror, systemd: Systemd) -> None:
    systemd.set(Job=[7, "/x"])
    assert not mirror.has_changed(1)
    systemd.set(MainPID=10)
    assert mirror.has_changed(1), "another process"
    mirror.observe({})
    assert not mirror.has_changed(1)


def test_while_it_is_stopped_only_its_state_matters(mirror: InstanceMirror, systemd: Systemd) -> None:
    mirror.observe({1: Stop})
    for signalled in (DYING, DEAD):
        systemd.set(**signalled)
        assert not mirror.has_changed(1), "it is stopping, as is known"
    assert mirror.has_ended_otherwise(1), "it is down now"


def test_a_start_is_seen_to_begin_and_to_end(mirror: InstanceMirror, systemd: Systemd) -> None:
    systemd.set(**DEAD)
    mirror.observe({})
    systemd.set(**BOOTING)
    assert mirror.has_changed(1), "the action had not begun when it was last seen"
    mirror.observe({1: Start})
    systemd.set(MainPID=11)
    assert not mirror.has_changed(1)
    systemd.set(**READY, NRestarts=1)
    assert mirror.has_changed(1)
    mirror.observe({1: Start})
    assert not mirror.has_ended_otherwise(1), "all of it was seen"
    mirror.refusals[1] = "was not started"
    systemd.set(**DEAD, NRestarts=0)
    assert mirror.has_ended_otherwise(1)


def test_the_end_of_a_drain_is_seen_by_its_record(mirror: InstanceMirror, systemd: Systemd, pins: Pins) -> None:
    """Its process may have ended before, which was seen, and changed no more than the record."""
    pins.drains.begin("demo", 1, DrainRecord(1.0, 9.0))
    systemd.set(**DEAD)
    assert [item.state for item in mirror.observe({1: Stop})] == [State.DRAINING]
    pins.unpin("demo", 1)
    assert mirror.has_ended_otherwise(1)
    assert [item.state for item in mirror.observe({})] == [State.INACTIVE]
    assert not mirror.has_ended_otherwise(1)
