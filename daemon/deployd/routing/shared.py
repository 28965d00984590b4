"""Shared routing: one queue, from which whoever is free accepts. There is nothing to be done."""

from __future__ import annotations

from collections.abc import Collection

from deployd.model.app import App
from deployd.model.rollout import Rollout
from deployd.routing.view import Report, View


class Shared:
    """Sockets are opened with the units and closed with them; an instance that stops leaves the queue to the others."""

    async def look(self, view: View) -> None:
        pass

    def follow(self, rollout: Rollout) -> None:
        pass

    async def open(self, number: int) -> None:
        pass

    async def drain(self, number: int, settings: App) -> int | None:  # noqa: ARG002
        return None

    def stay(self, number: int) -> None:
        pass

    async def close(self, number: int) -> None:
        pass

    def connected(self, numbers: Collection[int]) -> Collection[int]:  # noqa: ARG002
        return ()

    def report(self) -> Report:
        return Report()

    def stop(self) -> None:
        pass
