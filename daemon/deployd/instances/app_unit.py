"""The app unit `NAME.service`: it is up while the app is meant to run, and starts every instance that is pinned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployd.model import unit_name
from deployd.systemd.manager import Systemd

UP = frozenset({"active", "reloading", "activating"})


class AppUnit:
    """Starts and observes the app unit. `changed` is called when a start has ended, `failed` if it raised an error.

    `opening` is true while the unit is down only because a socket is being opened (`units.socket_opening`).
    """

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        *,
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
        opening: Callable[[], bool],
    ) -> None:
        self.unit = unit_name.app_unit(app)
        self._systemd = systemd
        self._changed = changed
        self._failed = failed
        self._opening = opening
        self._starting: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Read the state of the unit again. Raises SystemdError."""
        await self._systemd.watch(self.unit)
        await self._systemd.refresh(self.unit)

    def is_up(self) -> bool:
        return self._opening() or self._systemd.properties(self.unit).get("ActiveState") in UP

    async def is_stopped(self) -> bool:
        """True if the unit is down and not about to be started, as systemd says now. Raises SystemdError."""
        if await self._systemd.job(self.unit) is not None:
            return False
        await self._systemd.refresh(self.unit)
        return not self.is_up() and await self._systemd.job(self.unit) is None

    async def is_machine_stopping(self) -> bool:
        """True if the whole machine is going down. Raises SystemdError."""
        return await self._systemd.is_stopping()

    async def start(self, started: Callable[[], None]) -> None:
        """Begin to start the unit, unless a start is under way; call `started` when it is up. Raises SystemdError.

        All pinned instances start with it; in a first rollout there are none.
        """
        if self._starting is None:
            job = await self._systemd.start(self.unit)
            self._starting = asyncio.ensure_future(self._await(job, started))

    def stop(self) -> None:
        """Await no start any more."""
        if self._starting is not None:
            self._starting.cancel()

    async def _await(self, job: asyncio.Future[str], started: Callable[[], None]) -> None:
        """Await the start in the background: it waits for all pinned instances, which may take long and fail."""
        try:
            await job
            # A unit that was just loaded may send no signal but UnitNew, which carries no state.
            await self._systemd.refresh(self.unit)
            started()  # not earlier: a unit that is still down would pass for one stopped by hand
            self._changed()
        except Exception as error:
            self._failed(error)
        finally:
            self._starting = None
