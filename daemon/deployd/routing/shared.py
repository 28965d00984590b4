"""Shared routing: all instances accept from one queue, and the next free one gets a connection."""

from __future__ import annotations

from deployd.model.app import Routing
from deployd.routing.backend import Backend
from deployd.routing.kernel import Kernel
from deployd.routing.report import Report
from deployd.routing.snapshot import Snapshot


class Shared(Backend):
    """Does nothing: sockets open and close with their units. Reports why an app that should be steered is not."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._wanted = Routing.SHARED

    async def update(self, snapshot: Snapshot) -> None:
        self._wanted = snapshot.settings.routing

    def report(self) -> Report:
        if self._wanted is not Routing.STEERED:
            return Report()
        why = self._kernel.obstacle or "deployd could not steer when the app was deployed; remove and apply it"
        return Report("none", f"all instances share one socket: {why}")
