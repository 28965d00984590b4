"""The unit `NAME:health.service`, which is failed while the app is down, so that `systemctl --failed` names the app.

The app unit cannot fail itself: it has no process, and a stop of it stops the instances. The health unit is transient
and runs nothing of the app; it fails with the reason as its description, and is reset when clients are served again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from deployd.alarm import Alarm
from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.instance import Instance, State
from deployd.plan.health import Health
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UnitExists

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for which an app may be down: the restart of a crashed instance is no news."""


class HealthUnit:
    """Fails and resets the health unit of one app. `wake` has the control loop call :meth:`update`."""

    def __init__(self, app: str, systemd: Systemd, *, wake: Callable[[], None]) -> None:
        self._app = app
        self._unit = unit_name.health(app)
        self._systemd = systemd
        self._alarm = Alarm(wake)
        self._down_since: float | None = None
        self._failed: bool | None = None
        """None if an earlier daemon may have failed it."""

    async def update(self, health: Health, reason: str, instances: Iterable[Instance], now: float) -> None:
        """Fail the unit once the app has been down for PATIENCE seconds; reset it once the app is not down any more."""
        if health is not Health.DOWN:
            self._down_since = None
            self._alarm.clear()
            if self._failed is not False:
                await self._systemd.reset_failed(self._unit)
                self._failed = False
            return
        if self._failed or any(map(_is_on_its_way, instances)):
            return
        if self._down_since is None:
            self._down_since = now
        if now < self._down_since + PATIENCE:
            self._alarm.set(self._down_since + PATIENCE - now)
            return
        self._failed = True
        try:
            await self._fail(reason)
        except SystemdError as error:
            log.warning("%s: %s cannot be failed: %s", self._app, self._unit, error)

    def stop(self) -> None:
        """Never wake the control loop again."""
        self._alarm.close()

    async def _fail(self, reason: str) -> None:
        properties = {
            "Description": ("s", f"{self._app}: {reason}"),
            "Type": ("s", "oneshot"),
            "ExecStart": ("a(sasb)", [["/bin/false", ["/bin/false"], False]]),
            "IgnoreOnIsolate": ("b", True),
        }
        with suppress(UnitExists):  # an earlier daemon has failed it
            await (await self._systemd.start_transient(self._unit, properties))


def _is_on_its_way(item: Instance) -> bool:
    """True if the instance may serve soon: it is starting, for the first time, or about to be replaced."""
    return item.state is State.STOPPING or (item.state is State.STARTING and not item.restarts)
