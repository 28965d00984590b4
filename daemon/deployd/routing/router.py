"""The choice of an app's backend, shared or steered, according to its installed units."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from deployd.errors import SteeringError
from deployd.model import unit_name
from deployd.model.event import Emit
from deployd.reuseport.probes import Aimed, Make, new
from deployd.routing.address_log import AddressLog
from deployd.routing.backend import Backend
from deployd.routing.kernel import Kernel
from deployd.routing.shared import Shared
from deployd.routing.steered import Steered
from deployd.systemd.manager import Systemd
from deployd.units.deployment import Deployment


class Router:
    """Chooses the backend of one app: steered if its installed units give each instance sockets of its own."""

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        kernel: Kernel,
        deployment: Deployment,
        *,
        emit: Emit,
        changed: Callable[[], None],
        reported: Callable[[], None],
    ) -> None:
        """`changed` is called when the app should be routed again, `reported` when what `status` shows has changed."""
        self._app = app
        self._systemd = systemd
        self._kernel = kernel
        self._deployment = deployment
        self._changed = changed
        self._log = AddressLog(emit=emit, changed=reported)
        self._backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        """Return the backend in use. Do not keep it: units_changed() may replace it."""
        if self._backend is None:
            app, systemd, kernel = self._app, self._systemd, self._kernel
            if self._deployment.has_own_sockets(app):
                self._backend = Steered(app, systemd, kernel, self._log, changed=self._changed)
            else:
                self._backend = Shared(app, systemd, self._deployment, kernel, self._log, changed=self._changed)
        return self._backend

    def is_closed(self) -> bool:
        """True if an address of the app is closed."""
        return any(not item.open for item in self.backend.addresses())

    def owns(self, unit: str) -> bool:
        """True if `unit` is a listening socket that all instances share."""
        return unit_name.shared_socket_count(self._app, unit) is not None

    def units_changed(self) -> None:
        """Stop the backend if the installed units now need the other one, so that it is chosen again."""
        steered = self._deployment.has_own_sockets(self._app)
        if self._backend is not None and steered is not isinstance(self._backend, Steered):
            self._backend.leave()
            self._backend = None

    def aim(self, number: int, timeout: float, make: Make = new) -> AbstractContextManager[Aimed] | None:
        """Return a socket whose connection will reach this instance if it is made within `timeout` seconds, whatever
        its weight; None if there is none, or the instance may have a private socket. Raises SteeringError, also when it
        is entered."""
        listeners = self.backend.listeners
        return None if listeners is None else listeners.aim(number, timeout, make)

    def recount(self) -> None:
        """Correct counts of connections that may have drifted. Usually does nothing."""
        if (listeners := self.backend.listeners) is not None:
            with suppress(SteeringError):
                listeners.recounts.update()

    def stop(self) -> None:
        """Stop the backend. The next use chooses one again."""
        if self._backend is not None:
            self._backend.stop()
            self._backend = None
