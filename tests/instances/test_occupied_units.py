"""The last check before a start that must not be one too many."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import SystemdError
from deployd.instances.occupied_units import OccupiedUnits
from deployd.systemd.comparison import UnitState

UP, STOPPING, DOWN = (UnitState("loaded", state, "", 0) for state in ("active", "deactivating", "inactive"))
QUEUED = UnitState("loaded", "inactive", "dead", 7)


def refused(
    tmp_path: Path, states: dict[str, UnitState], *, most: int = 1, left: str = "", starting: tuple[str, ...] = ()
) -> str:
    """Return why a start of clock@2 is refused, "" if it is not. Processes of the unit `left` are left."""
    for unit in states:
        (tmp_path / unit).mkdir(parents=True)
        (tmp_path / unit / "cgroup.events").write_text(f"populated {int(unit == left)}\nfrozen 0\n")

    class Manager:
        async def states(self, _patterns: object) -> dict[str, UnitState]:
            return dict(states)

        async def read(self, unit: str, *_: object) -> dict[str, str]:
            return {"ControlGroup": f"/{unit}"}

    systemd: Any = Manager()
    try:
        asyncio.run(OccupiedUnits(systemd, tmp_path).refuse_more("clock", "clock@2.service", starting, most))
    except SystemdError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("other", [UP, STOPPING, QUEUED])
def test_an_instance_that_is_up_or_will_be_leaves_no_room(tmp_path: Path, other: UnitState) -> None:
    assert "one too many; is up: clock@1.service" in refused(tmp_path, {"clock@1.service": other})


def test_with_room_it_is_started(tmp_path: Path) -> None:
    assert refused(tmp_path, {"clock@1.service": DOWN, "clock@2.service": DOWN}) == ""
    assert refused(tmp_path / "other", {}, most=1) == ""


def test_two_starts_at_a_time_count_each_other(tmp_path: Path) -> None:
    units = {"clock@1.service": DOWN, "clock@2.service": DOWN}
    assert "clock@1.service" in refused(tmp_path, units, starting=("clock@1.service", "clock@2.service"))


def test_processes_of_a_unit_that_is_down_count(tmp_path: Path) -> None:
    said = refused(tmp_path, {"clock@1.service": DOWN}, left="clock@1.service")
    assert said.endswith("has stopped, but processes of it are left: clock@1.service")
    assert "of its last start" in refused(tmp_path / "own", {"clock@2.service": DOWN}, left="clock@2.service")
