"""Reads the units of an app from systemd again when the mirror may have missed a change."""

from __future__ import annotations

import asyncio

from deployd.instances.actuator import Actuator
from deployd.instances.app_unit import AppUnit
from deployd.systemd.manager import Systemd


class Resync:
    """Refreshes the mirror of one app's units."""

    def __init__(self, systemd: Systemd, app_unit: AppUnit, actuator: Actuator) -> None:
        self._systemd = systemd
        self._app_unit = app_unit
        self._actuator = actuator
        self._stale = True
        self._lock = asyncio.Lock()

    def invalidate(self) -> None:
        """Have the next refresh read all units."""
        self._stale = True

    async def refresh(self) -> None:
        """Read all units again if the mirror is stale. Raises SystemdError."""
        async with self._lock:  # no caller continues with half of the units read
            if self._stale:
                self._stale = False
                try:
                    await self._systemd.resubscribe()
                    await self._app_unit.refresh()
                    await self._actuator.discover()
                except BaseException:  # cancellation of the caller included
                    self._stale = True
                    raise
