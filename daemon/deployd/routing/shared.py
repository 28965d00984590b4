"""Shared routing: all instances accept from one queue, and whichever is free takes the next connection."""

from __future__ import annotations

from deployd.model.app import Routing
from deployd.routing.backend import Backend
from deployd.routing.interface import Report, View
from deployd.routing.kernel import Kernel


class Shared(Backend):
    """Routes nothing: sockets open and close with their units. Reports why an app is shared that asks to be steered."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._wanted = Routing.SHARED

    async def update(self, view: View) -> None:
        self._wanted = view.settings.routing

    def report(self) -> Report:
        if self._wanted is not Routing.STEERED:
            return Report()
        why = self._kernel.obstacle or "deployd could not steer when the app was deployed; remove and apply it"
        return Report("none", f"all instances share one socket: {why}")
