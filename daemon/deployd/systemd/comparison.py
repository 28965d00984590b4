"""Comparison of the mirror of units with systemd's list of units, after a daemon-reload.

systemd sends no signals while it reloads, and may signal the first change of a unit afterwards as UnitNew, without
properties; each later PropertiesChanged has all of them. Therefore the list of units, one call, is compared with the
mirror, and units that differ are read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.errors import SystemdError
from deployd.model import unit_name

log = logging.getLogger(__name__)

LAG = 0.1
"""Seconds between a daemon-reload and its comparison, which serves for other reloads in that time as well."""

MOST_PATTERNS = 16
"""With more, all units are listed: systemd compares each with each pattern, and a hundred apps have three hundred."""

RETRY = 1.0
"""Seconds until a comparison that failed is repeated."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """An entry of the list of units: LoadState, ActiveState and SubState, and the number of the unit's job."""

    load: str
    active: str
    sub: str
    job: int

    def properties(self) -> dict[str, Any]:
        """Return the same as properties of the unit."""
        job = [self.job, "/"]  # the path of a job is not used
        return {"LoadState": self.load, "ActiveState": self.active, "SubState": self.sub, "Job": job}


def differs(properties: Mapping[str, Any], listed: UnitState | None) -> bool:
    """True if the mirrored properties of a unit differ from its entry; None: the unit is not loaded, so inactive."""
    if listed is None:
        return properties.get("ActiveState") != "inactive"
    mirrored = tuple(properties.get(name) for name in ("LoadState", "ActiveState", "SubState"))
    # The job of an active unit is not kept up to date in the mirror.
    job = listed.active == "inactive" and properties.get("Job", [0])[0] != listed.job
    return job or mirrored != (listed.load, listed.active, listed.sub)


class Comparison:
    """Compares the mirror `units` with the list that `states` returns for patterns; `read` reads one unit again."""

    def __init__(
        self,
        units: Mapping[str, Mapping[str, Any]],
        states: Callable[[list[str]], Awaitable[Mapping[str, UnitState]]],
        read: Callable[[str], Awaitable[None]],
    ) -> None:
        self._units = units
        self._states = states
        self._read = read
        self._due = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin a comparison. To be called at the end of a daemon-reload."""
        self._due = True
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while self._due:
            await asyncio.sleep(LAG)
            self._due = False
            try:
                await self._compare()
            except SystemdError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY)
                self._due = True

    async def _compare(self) -> None:
        if not self._units:
            return
        patterns = unit_name.common_patterns(self._units)
        listed = await self._states(patterns if len(patterns) <= MOST_PATTERNS else [])
        # One after another, so that other calls are not delayed.
        for unit in [unit for unit, properties in self._units.items() if differs(properties, listed.get(unit))]:
            await self._read(unit)
