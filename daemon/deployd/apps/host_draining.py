"""Takes this host, or one app on it, out of load balancers, and puts it back."""

from __future__ import annotations

import logging
import time

from deployd.apps.announcer import Announcer
from deployd.apps.registry import Registry
from deployd.config import one_line
from deployd.errors import Refused, StateError
from deployd.model import advice
from deployd.model.host_drain import HOST, RolloutDrain
from deployd.state.host_drains import HostDrains

log = logging.getLogger(__name__)

LONGEST_REASON = 200
"""Characters."""


class HostDraining:
    """Instances, sockets and connections are not touched: only health checks have another answer.

    Methods raise StateError.
    """

    def __init__(self, drains: HostDrains, settings: RolloutDrain, registry: Registry, announcer: Announcer) -> None:
        self._drains = drains
        self._settings = settings
        self._registry = registry
        self._announcer = announcer

    def drain(self, app: str = HOST, reason: str = "") -> None:
        """Drain an app, or the whole host."""
        found = self._drains.drain(app, time.time(), one_line(reason)[:LONGEST_REASON])
        log.info("%s drained%s", _what(app), f": {found.reason}" if found.reason else "")
        self._show(app)

    def undrain(self, app: str = HOST) -> None:
        """End the drain of an app, or that of the host; apps that are drained themselves stay so.

        Raises Refused if only a rollout drains the app.
        """
        if self._drains.undrain(app):
            log.info("%s no longer drained", _what(app))
        elif app != HOST and (found := self._drains.rollout(app)) is not None:
            why = f"{app} is drained for its {found.reason}, which ends that drain"
            raise Refused(f"{why}; to end it now, pause the rollout: {advice.deployd()} pause {app}")
        self._show(app)

    def wait_for(self, app: str) -> float | None:
        """Return the seconds that load balancers need to notice a drain of an app; None if this host is not drained of
        it for rollouts."""
        return self._settings.wait_for(app)

    def begin_rollout(self, app: str, generation: int) -> None:
        """Drain an app for its rollout to `generation`."""
        self._drains.begin_rollout(app, generation, time.time())
        log.info("%s drained for its rollout to generation %d", _what(app), generation)
        self._show(app)

    def end_rollout(self, app: str) -> None:
        """End the drain of an app for its rollout; a drain by hand stays."""
        if self._drains.end_rollout(app):
            log.info("%s no longer drained for its rollout", _what(app))
        self._show(app)

    def is_rolling(self, app: str) -> bool:
        """True if an app is drained for a rollout."""
        return self._drains.rollout(app) is not None

    def begin(self, app: str) -> None:
        """Show that an app is up, unless it is drained: it is deployed now. A failure is only logged."""
        self._refresh([*self._deployed(), app])

    def refresh(self) -> None:
        """Show which apps are up. A failure is only logged."""
        self._refresh(self._deployed())

    def _refresh(self, apps: list[str]) -> None:
        try:
            self._drains.show(apps)
        except StateError as error:
            log.warning("%s", error)

    def forget(self, app: str) -> None:
        """Forget the drain of an app that was removed."""
        self._drains.forget(app)
        self.refresh()

    def _show(self, app: str) -> None:
        self._drains.show(self._deployed())
        for name in self._deployed() if app == HOST else [app]:
            self._announcer.changed(name)

    def _deployed(self) -> list[str]:
        return [controller.name for controller in self._registry]


def _what(app: str) -> str:
    return "this host is" if app == HOST else f"{app} is"
