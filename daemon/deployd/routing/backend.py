"""The interface of a backend: what routing does for an app at each step of a rollout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from deployd.model.address import Address
from deployd.model.app import App
from deployd.model.rollout import Rollout
from deployd.model.steering import Load
from deployd.plan.idle_connections import Ending
from deployd.routing.listeners import Listeners
from deployd.routing.report import Report
from deployd.routing.snapshot import Snapshot

Notice = Callable[[int], Awaitable[None]]
"""Asks a server to close so many connections."""


class Backend:
    """Routes new connections of one app. A backend overrides the methods that it needs; these do nothing.

    Methods raise SystemdError if systemd does not answer.
    """

    listeners: Listeners | None = None
    """The TCP listeners of the instances, if each has its own."""

    async def update(self, snapshot: Snapshot) -> bool:
        """Route new connections according to the changed state of the app, and open sockets that were closed.

        Returns True if an address is open again, so that instances that could not start without it may now.
        """
        del snapshot
        return False

    async def reopen(self) -> None:
        """Open sockets that were closed while the app is up, at once. Raises Refused for one that cannot listen."""

    def follow(self, rollout: Rollout) -> None:
        """Set the weights that the rollout asks for; they are in force when this returns."""

    async def open(self, number: int) -> None:
        """Open the sockets of an instance that is about to be started. Raises UnitRefused if one cannot listen."""

    async def drain(self, number: int, settings: App, notice: Notice | None = None) -> int | None:
        """Send no new connections to an instance that is about to stop, and wait until none can reach it.

        Connections that are left then may last for `close_after`, once `notice` has asked the server to close them.
        Returns the number of connections that it still has, None if that is not known.
        """

    async def pace(self, number: int, connections: int) -> None:
        """Wait, at most for `settle`, until the clients of an instance that was stopped before have come back, because
        so many connections of this one are about to be closed."""

    def undrain(self, number: int) -> None:
        """Send new connections again to an instance that was drained and could not be stopped."""

    async def close(self, number: int) -> None:
        """Close the sockets of an instance that has stopped for good."""

    def connected(self, numbers: Collection[int]) -> Mapping[int, int | None]:  # noqa: ARG002
        """Return those of `numbers` that have connections of their own, with their number, and those that may still get
        some, with None, as far as known."""
        return {}

    async def close_idle(self, number: int) -> Ending:  # noqa: ARG002
        """Close the connections of an instance that is about to be frozen if none of them is in use, and return what
        was found."""
        return Ending.IN_USE

    def loads(self) -> Mapping[int, Load]:
        """Return what the kernel counts of each instance; nothing if it does not count. Raises SteeringError."""
        return {}

    def unread(self, numbers: Collection[int]) -> Mapping[int, Collection[float]]:  # noqa: ARG002
        """Return for each of `numbers` the connections on which data waits to be read: how long ago the last of it
        arrived, in seconds. Raises SteeringError."""
        return {}

    def addresses(self) -> tuple[Address, ...]:
        """Return the listening addresses of the app as they are now."""
        return ()

    def unreachable(self) -> dict[int, str]:
        """Return the instances that clients do not reach although their processes may be ready, and why."""
        return {}

    def report(self) -> Report:
        """Return what `status` shows, without waiting for anything."""
        return Report()

    def leave(self) -> None:
        """Stop for good, because the app is no longer routed this way."""
        self.stop()

    def stop(self) -> None:
        """Stop timers and tasks, because the daemon ends or the app is gone; the kernel continues as it is set."""
