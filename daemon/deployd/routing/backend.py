"""What routing does for an app. A backend overrides the steps at which it has something to do."""

from __future__ import annotations

from collections.abc import Collection

from deployd.model.app import App
from deployd.model.rollout import Rollout
from deployd.routing.interface import Report, View


class Backend:
    """Routes new connections of one app. Methods raise SystemdError if systemd does not answer."""

    async def update(self, view: View) -> None:
        """Route new connections as the app, which has changed, needs it now."""

    def follow(self, rollout: Rollout) -> None:
        """Set the shares that the rollout asks for; they are in force when this returns."""

    async def open(self, number: int) -> None:
        """Open the sockets of instance `number` before it is started. Raises UnitRefused if it could not listen."""

    async def drain(self, number: int, settings: App) -> int | None:
        """Send no new connections to an instance that is about to stop, and wait until none can reach it.

        Returns the number of connections that it still has, None if that is not known.
        """

    def undrain(self, number: int) -> None:
        """Send new connections again to an instance that was drained and could not be stopped."""

    async def close(self, number: int) -> None:
        """Close the sockets of an instance that has stopped for good."""

    def connected(self, numbers: Collection[int]) -> Collection[int]:  # noqa: ARG002
        """Return those of `numbers` that have connections of their own or may still be given some, as far as known."""
        return ()

    def report(self) -> Report:
        """Return what `status` shows, without waiting for anything."""
        return Report()

    def stop(self) -> None:
        """Stop timers and tasks, because the daemon ends or the app is gone; the kernel continues as it is set."""
