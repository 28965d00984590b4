"""The router of one app: shared or steered, as its units are installed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from deployd.model.app import App, Routing
from deployd.model.rollout import Rollout
from deployd.routing.kernel import Kernel
from deployd.routing.shared import Shared
from deployd.routing.steered import Steered
from deployd.routing.view import Report, View
from deployd.routing.view import Routing as Interface
from deployd.systemd.manager import Systemd


class Router:
    """`steers` tells whether the installed units give each instance sockets of its own."""

    def __init__(
        self, app: str, systemd: Systemd, kernel: Kernel, steers: Callable[[str], bool], *, changed: Callable[[], None]
    ) -> None:
        self._app = app
        self._systemd = systemd
        self._kernel = kernel
        self._steers = steers
        self._changed = changed
        self._routing: Interface | None = None
        self._wanted = Routing.SHARED

    def units_changed(self) -> None:
        """Units were installed or removed: look again which kind it is."""
        if self._routing is not None and self._steers(self._app) is not isinstance(self._routing, Steered):
            self.stop()

    async def look(self, view: View) -> None:
        self._wanted = view.settings.routing
        await self._now().look(view)

    def follow(self, rollout: Rollout) -> None:
        self._now().follow(rollout)

    async def open(self, number: int) -> None:
        await self._now().open(number)

    async def drain(self, number: int, settings: App) -> int | None:
        return await self._now().drain(number, settings)

    def stay(self, number: int) -> None:
        self._now().stay(number)

    async def close(self, number: int) -> None:
        await self._now().close(number)

    def connected(self, numbers: Collection[int]) -> Collection[int]:
        return self._now().connected(numbers)

    def report(self) -> Report:
        report = self._now().report()
        if report.steering is None and self._wanted is Routing.STEERED:
            why = self._kernel.obstacle or "deployd could not steer when the app was deployed; remove and apply it"
            return Report("none", f"all instances share one socket: {why}")
        return report

    def stop(self) -> None:
        """Until it is asked again."""
        if self._routing is not None:
            self._routing.stop()
            self._routing = None

    def _now(self) -> Interface:
        if self._routing is None:
            if self._steers(self._app):
                self._routing = Steered(self._app, self._systemd, self._kernel, changed=self._changed)
            else:
                self._routing = Shared()
        return self._routing
