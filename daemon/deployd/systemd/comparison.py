"""What the mirror of units has missed while systemd read its unit files.

A daemon-reload loses little: systemd sends no signal while it reads, and the first change of a unit afterwards may be
told as UnitNew, without properties; each PropertiesChanged that follows has all of them. So the list of units, one
call, is compared with the mirror, and what differs is read again.
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
"""Seconds in which reloads gather for which one comparison does."""

RETRY = 1.0
"""Seconds until a comparison is tried again that systemd refused."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit in the list of units: its LoadState, ActiveState and SubState, and the number of its job."""

    load: str
    active: str
    sub: str
    job: int


def differs(properties: Mapping[str, Any], listed: UnitState | None) -> bool:
    """Whether a unit's mirror is another than the list says; None: the unit is not loaded, so nothing of it runs."""
    if listed is None:
        return properties.get("ActiveState") != "inactive"
    told = tuple(properties.get(name) for name in ("LoadState", "ActiveState", "SubState"))
    # While a unit is up the mirror keeps no account of its jobs.
    job = listed.active == "inactive" and properties.get("Job", [0])[0] != listed.job
    return job or told != (listed.load, listed.active, listed.sub)


class Comparison:
    """Of the mirror `units` with systemd's list (`states`); `read` reads one unit again."""

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
        """systemd has read its unit files."""
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
        listed = await self._states(unit_name.common_patterns(self._units))
        # One by one: the calls of those who wait for something else come in between.
        for unit in [unit for unit, properties in self._units.items() if differs(properties, listed.get(unit))]:
            await self._read(unit)
