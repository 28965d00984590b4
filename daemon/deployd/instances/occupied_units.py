"""Which instances have processes: the last check before a start that must not be one too many (overlap = false).

The planner decides by the states of units. A unit can be down while a process of it is left, which did not end even
after SIGKILL, or which an administrator's KillMode= spares; that shows in its cgroup alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.systemd.comparison import UnitState
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE, UnitRefused

_DOWN = ("inactive", "failed")


class OccupiedUnits:
    """Finds units that have processes, or are about to. `cgroups`: where cgroup v2 is mounted, None if it is not."""

    def __init__(self, systemd: Systemd, cgroups: Path | None) -> None:
        self._systemd = systemd
        self._cgroups = cgroups

    async def refuse_more(self, app: str, unit: str, starting: Collection[str], most: int) -> None:
        """Raise SystemdError if a start of `unit` would make more than `most` instances of the app that have processes.
        Those whose start has been decided, `starting`, count."""
        states = await self._systemd.states([unit_name.instance(app, "*")])
        states.pop(unit, None)
        up = {*starting} - {unit} | {name for name, state in states.items() if _is_up(state)}
        left = [name for name in states.keys() - up if await self._has_processes(name)]
        if len(up) + len(left) >= most:
            why = f"has stopped, but processes of it are left: {left[0]}" if left else f"is up: {', '.join(sorted(up))}"
            raise SystemdError(f"{unit} is not started, because with overlap = false it would be one too many; {why}")
        if await self._has_processes(unit):
            raise SystemdError(f"{unit} is not started, because processes of its last start are left")

    async def _has_processes(self, unit: str) -> bool:
        if self._cgroups is None:
            return False
        try:
            group = str((await self._systemd.read(unit, SERVICE, ["ControlGroup"]))["ControlGroup"]).lstrip("/")
            return bool(group) and is_populated((self._cgroups / group / "cgroup.events").read_text())
        except (UnitRefused, OSError):
            return False  # it is not loaded, or its cgroup is gone


def _is_up(state: UnitState) -> bool:
    return state.active not in _DOWN or state.job != 0


def is_populated(events: str) -> bool:
    """True if cgroup.events (cgroups(7)) says that a process is in the cgroup or below it."""
    return "populated 1" in events.splitlines()
