"""The umbrella `NAME.service`: it is up while the app is meant to run, and starts whatever is pinned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployd.model import unit_name
from deployd.systemd.manager import Systemd

UP = frozenset({"active", "reloading", "activating"})


class AppUnit:
    """`changed` is called when a start of it has ended, `failed` with the reason if that was not to be had."""

    def __init__(
        self, app: str, systemd: Systemd, *, changed: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        self.unit = unit_name.app_unit(app)
        self._systemd = systemd
        self._changed = changed
        self._failed = failed
        self._starting: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Read its state afresh. Raises SystemdError."""
        await self._systemd.watch(self.unit)
        await self._systemd.refresh(self.unit)

    def is_up(self) -> bool:
        return self._systemd.properties(self.unit).get("ActiveState") in UP

    def leave(self) -> None:
        """Wait for no start any more."""
        if self._starting is not None:
            self._starting.cancel()

    async def start(self, seen: Callable[[], None]) -> None:
        """Begin to start it, unless that is under way; `seen` is called once it was. Raises SystemdError.

        Whatever is pinned comes up with it; for a first rollout that is nothing.
        """
        if self._starting is None:
            job = await self._systemd.start(self.unit)
            self._starting = asyncio.ensure_future(self._await(job, seen))

    async def _await(self, job: asyncio.Future[str], seen: Callable[[], None]) -> None:
        """Its start waits for the instances that are pinned, which may take long and fail; the rollout goes on."""
        try:
            await job
            # The only signal of a unit that was just loaded may be UnitNew, which does not tell its state.
            await self._systemd.refresh(self.unit)
            seen()  # not earlier: that it is still down would pass for a stop by hand
            self._changed()
        except Exception as error:
            self._failed(error)
        finally:
            self._starting = None
