"""The status of each app: a snapshot of its controller and its history."""

from __future__ import annotations

import asyncio
import time

from deployd import __version__
from deployd.apps.registry import Registry
from deployd.documents import Json
from deployd.documents.status import Snapshot, host_drain, status
from deployd.errors import NoSuchApp, StateError
from deployd.model.clock import Timestamp
from deployd.model.host_drain import HOST
from deployd.model.probation import Probation
from deployd.plan import boots
from deployd.plan.probation import counted
from deployd.rollout.controller import Controller
from deployd.routing import Report
from deployd.state.history import History
from deployd.state.host_drains import HostDrains


class Statuses:
    """Of all apps in `registry`."""

    def __init__(self, registry: Registry, history: History, drains: HostDrains) -> None:
        self._registry = registry
        self._history = history
        self._drains = drains

    def status(self, name: str) -> Json:
        """Return the status of an app, with those of its process types. Raises NoSuchApp."""
        found = self._status(name, self._registry.known(name))
        members = (item for item in self._registry.members(name) if item.name != name and not item.is_gone())
        prefix = f"{name}."
        processes = {item.name.removeprefix(prefix): self._status(item.name, item) | {"app": name} for item in members}
        return found | {"processes": processes}

    def _status(self, name: str, controller: Controller | None) -> Json:
        history = self._history
        rollout = controller.rollout if controller else None
        trouble = history.source.trouble(name)
        try:
            seen = controller.observe() if controller else ()
        except StateError as error:
            seen, trouble = (), trouble or str(error)  # Describe() returns the other apps as well
        current = history.current(name)
        shown = current if current is not None else (rollout.target if rollout else None)
        probation = history.probation(name)
        generation = history.generation(name, shown) if shown is not None else None
        goal = history.generation(name, rollout.goal) if rollout and rollout.goal is not None else generation
        return status(
            Snapshot(
                name,
                generation=generation,
                rollout=rollout,
                target=controller.target if controller else None,
                instances=seen,
                releases=history.releases(name, {item.generation for item in seen}),
                desired=goal.settings.instances if goal is not None else 0,
                boot=time.time() - time.monotonic(),
                troubles=controller.crash_loop.troubles() if controller else {},
                restarts=controller.crash_loop.restarts(seen) if controller else {},
                boots=boots.summary(history.boots(name)),
                routing=controller.router.backend.report() if controller and generation is not None else Report(),
                standby=controller.standby.status(Timestamp.now()) if controller else None,
                timers=controller.timers.states() if controller else (),
                up=controller is not None and controller.is_up(),
                probation=probation,
                crashes=0 if probation is None else self._crashes(probation),
                last=next(iter(history.entries(name, 1)), None) if rollout is None else None,
                fence=history.fence(name),
                totals=history.totals(name),
                drain=self._drains.of(name),
                history_error=trouble,
            )
        )

    def _crashes(self, probation: Probation) -> int:
        """Return how many crashes of the generation on probation count."""
        crashes = self._history.logged_crashes(probation.app, Timestamp.now().boot)
        others = self._history.crashes_elsewhere(probation.app, Timestamp.now().boot)
        return len(counted(probation, crashes, others))

    async def describe(self) -> Json:
        """Return the status of all apps, listing the app files again."""
        apps = []
        for name in await self._registry.listed():
            try:
                apps.append(self.status(name))
            except NoSuchApp:  # it was removed meanwhile
                continue
            await asyncio.sleep(0)  # other calls are answered in between
        return {"apps": apps, "drain": host_drain(self._drains.of(HOST)), "version": __version__}

    def headline(self) -> str:
        """Return the line that `systemctl status deployd` shows."""
        controllers = [item for item in self._registry if item.name == item.application]
        rollouts = [item.rollout for item in controllers if item.rollout is not None]
        under_way = ", ".join(f"{item.app} to generation {item.target} ({item.phase})" for item in rollouts)
        apps = f"{len(controllers)} app{'' if len(controllers) == 1 else 's'}"
        names = ["", *(item.name for item in controllers)]
        if troubles := [trouble for name in names if (trouble := self._history.source.trouble(name))]:
            return f"{apps}; no changes: {troubles[0]}"
        return f"{apps}; rolling out {under_way}" if under_way else f"{apps}; no rollout under way"
