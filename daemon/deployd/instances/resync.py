"""Re-reads the units of an app from systemd when the mirror may have missed a change."""

from __future__ import annotations

import asyncio

from deployd.instances.actuator import Actuator
from deployd.instances.app_unit import AppUnit
from deployd.systemd.manager import Systemd


class Resync:
    """Of one app."""

    def __init__(self, systemd: Systemd, umbrella: AppUnit, instances: Actuator) -> None:
        self._systemd = systemd
        self._umbrella = umbrella
        self._instances = instances
        self._stale = True
        self._looking = asyncio.Lock()

    def lose(self) -> None:
        """Have the next look read everything again."""
        self._stale = True

    async def look(self) -> None:
        """Read all units again if needed. Raises SystemdError."""
        async with self._looking:  # no caller continues with half of the units read
            if self._stale:
                self._stale = False
                try:
                    await self._systemd.resubscribe()
                    await self._umbrella.look()
                    await self._instances.discover()
                except BaseException:  # whoever asked may have been cancelled
                    self._stale = True
                    raise
