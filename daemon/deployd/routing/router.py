"""The choice of an app's backend, shared or steered, according to its installed units."""

from __future__ import annotations

from collections.abc import Callable

from deployd.routing.backend import Backend
from deployd.routing.kernel import Kernel
from deployd.routing.shared import Shared
from deployd.routing.steered import Steered
from deployd.systemd.manager import Systemd


class Router:
    """Chooses the backend of one app. `has_own_sockets` says whether its installed units give each instance sockets."""

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        kernel: Kernel,
        has_own_sockets: Callable[[str], bool],
        *,
        changed: Callable[[], None],
    ) -> None:
        self._app = app
        self._systemd = systemd
        self._kernel = kernel
        self._has_own_sockets = has_own_sockets
        self._changed = changed
        self._backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        """Return the backend in use. Do not keep it: units_changed() may replace it."""
        if self._backend is None:
            if self._has_own_sockets(self._app):
                self._backend = Steered(self._app, self._systemd, self._kernel, changed=self._changed)
            else:
                self._backend = Shared(self._kernel)
        return self._backend

    def units_changed(self) -> None:
        """Stop the backend if the installed units now need the other one, so that it is chosen again."""
        if self._backend is not None and self._has_own_sockets(self._app) is not isinstance(self._backend, Steered):
            self.stop()

    def stop(self) -> None:
        """Stop the backend. The next use chooses one again."""
        if self._backend is not None:
            self._backend.stop()
            self._backend = None
