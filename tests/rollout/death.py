"""The death of a daemon in a rollout on a simulated systemd."""

from __future__ import annotations

import asyncio

from tests.rollout.simulated_app import Faults, SimulatedApp


class Died(BaseException):
    """The daemon is killed before a call."""


class Death(Faults):
    """Kills the daemon at a call; none of the later ones is made either."""

    def __init__(self, at: int) -> None:
        super().__init__(self._due)
        self._at = at
        self._died = asyncio.Event()

    def _due(self, count: int, _label: str) -> Died | None:
        if count < self._at:
            return None
        self._died.set()
        return Died()

    async def wait(self, app: SimulatedApp) -> None:
        """Return when the daemon is dead, or the rollout has ended.

        Turns that are combined make fewer calls than the first time; then the rollout ends, with nothing killed.
        """
        either = [asyncio.create_task(self._until_dead()), asyncio.create_task(self._until_finished(app))]
        done, left = await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        for task in done:
            task.result()

    async def _until_dead(self) -> None:
        await self._died.wait()

    async def _until_finished(self, app: SimulatedApp) -> None:
        await app.event("finished")
