"""What the control loop sees: read afresh where the mirror of systemd's units may have missed something."""

from __future__ import annotations

import asyncio

from deployd.control.instances import Instances
from deployd.control.umbrella import Umbrella
from deployd.systemd.manager import Systemd


class Sight:
    """Of one app."""

    def __init__(self, systemd: Systemd, umbrella: Umbrella, instances: Instances) -> None:
        self._systemd = systemd
        self._umbrella = umbrella
        self._instances = instances
        self._stale = True
        self._looking = asyncio.Lock()

    def lose(self) -> None:
        """What is known may be wrong: the next look reads all of it."""
        self._stale = True

    async def look(self) -> None:
        """Read the world afresh if it was lost. Raises SystemdError."""
        async with self._looking:  # nobody goes on with a half of it
            if self._stale:
                self._stale = False
                try:
                    await self._systemd.resubscribe()
                    await self._umbrella.look()
                    await self._instances.discover()
                except BaseException:  # whoever asked may have been cancelled
                    self._stale = True
                    raise
