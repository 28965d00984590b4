"""Drains this host of an app around each of its rollouts, if the settings of the host say so (plan/host_drain.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from deployd.model.action import Action, Adopt, Unpin
from deployd.model.clock import Timestamp
from deployd.model.event import Emit, EventName
from deployd.plan.host_drain import Step, View, step
from deployd.rollout.active import ActiveRollout


class Drains(Protocol):
    """The drains of this host. Methods raise StateError."""

    def wait_for(self, app: str) -> float | None:
        """Return the seconds that load balancers need to notice a drain of the app, or its end; None if this host is
        not drained of it for rollouts."""

    def begin_rollout(self, app: str, generation: int) -> None:
        """Drain the app for its rollout to `generation`."""

    def end_rollout(self, app: str) -> None:
        """End the drain of the app for its rollout; a drain by hand stays."""

    def is_rolling(self, app: str) -> bool:
        """True if the app is drained for a rollout."""


class HostDrainer:
    """Of one app, or, unless `is_app`, of a process type, which load balancers do not know.

    `wake_after` has the control loop make another turn in so many seconds. Methods raise StateError.
    """

    def __init__(
        self,
        app: str,
        drains: Drains,
        *,
        is_app: bool,
        emit: Emit,
        wake_after: Callable[[float], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._drains = drains
        self._wait = drains.wait_for(app) if is_app else None
        self._emit = emit
        self._wake_after = wake_after
        self._now = now
        # A daemon that was killed has left it.
        self._drained: float | None = now() if drains.is_rolling(app) else None
        self._returned: tuple[int, float] | None = None
        """The generation whose rollout was drained, and when that drain has ended."""

    def follow(self, active: ActiveRollout | None) -> None:
        """End the drain of a rollout that has ended or is paused."""
        if self._drained is not None:
            self._go(active)

    def may_act(self, active: ActiveRollout, actions: Collection[Action]) -> bool:
        """Drain before the first action; True once load balancers have had the time to notice."""
        acts = any(not isinstance(action, Adopt | Unpin) for action in actions)
        return self._go(active, acts=acts)

    def may_end(self, active: ActiveRollout) -> bool:
        """End the drain; True once load balancers have had the time to notice."""
        return self._go(active, settled=True)

    def _go(self, active: ActiveRollout | None, *, acts: bool = False, settled: bool = False) -> bool:
        """Take the steps that are due; True if the rollout continues."""
        while True:
            now, target = self._now(), None if active is None else active.rollout.target
            returned = self._returned[1] if self._returned is not None and self._returned[0] == target else None
            view = View(
                None if active is None else active.rollout,
                None if active is None else active.target.cause,
                acts=acts,
                settled=settled,
                drained=self._drained,
                returned=returned,
            )
            match step(view, self._wait, now):
                case Step.GO:
                    return True
                case Step.DRAIN:
                    self._drains.begin_rollout(self._app, target or 0)
                    self._drained = self._now()
                    self._report(f"load balancers to notice that {self._app} is drained on this host")
                case Step.UNDRAIN:
                    self._drains.end_rollout(self._app)
                    self._drained = None
                    if target is not None:
                        self._returned = target, self._now()
                    if settled and view.may_drain:
                        self._report(f"load balancers to notice that {self._app} is back on this host")
                case Step.WAIT:
                    since = (returned if settled else self._drained) or now
                    self._wake_after(max(0.0, since + (self._wait or 0.0) - now))
                    if active is not None:
                        active.restart_clock(Timestamp.now())  # the deadline does not count meanwhile
                    return False

    def _report(self, reason: str) -> None:
        if self._wait:
            self._emit(EventName.WAITING, {"reason": f"{reason} ({self._wait:g} s)"})
