"""Installs the units of an app without starting an instance."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from deployd.apps.announcer import Announcer
from deployd.apps.supervisor import Supervisor
from deployd.errors import DeploydError
from deployd.model.app import OTHERS, App
from deployd.model.event import EventName
from deployd.model.generation import Cause, Generation, Result
from deployd.rollout.generation_builder import GenerationBuilder, Wanted
from deployd.rollout.generations import Generations
from deployd.rollout.teardown import JOB_MARGIN, Teardown
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.units.deployment import Deployment

log = logging.getLogger(__name__)


class Installer:
    """For all apps."""

    def __init__(
        self,
        supervisor: Supervisor,
        builder: GenerationBuilder,
        generations: Generations,
        history: History,
        pins: Pins,
        deployment: Deployment,
        teardown: Teardown,
        announcer: Announcer,
    ) -> None:
        self._supervisor = supervisor
        self._builder = builder
        self._generations = generations
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._teardown = teardown
        self._announcer = announcer

    async def install(self, app: App, release: str) -> int:
        """Install the first generation of an app, with all instances pinned to it: the first connection starts them.

        Returns the number of the generation. Raises Refused, StateError and SystemdError.
        """
        all_built = await self._builder.build([Wanted(item, Cause.APPLY) for item in app.members], release)
        try:
            for built in all_built:
                settings, number = built.settings, built.number
                self._pins.pin_all(settings.name, range(1, settings.instances + 1), number)
                await self._deployment.install(settings, self._generations.goal(settings, number, built.fingerprint))
        except DeploydError:
            for built in all_built:
                await self._leave_nothing(built.settings)
            raise
        now = time.time()
        reason = "installed; the first connection starts it"
        done = [
            replace(built, result=Result.SUCCEEDED, reason=reason, started=now, finished=now, duration=0.0)
            for built in all_built
        ]
        self._history.deployed(*done)
        for item in app.members:
            self._supervisor.controller(item.name, app.name)
        number = done[0].number
        fields = {
            "result": str(done[0].result),
            "reason": reason,
            "generation": number,
            "from": None,
            "to": number,
            "replaced": [],
            "adopted": [],
            "duration": 0.0,
        }
        self._announcer.event(app.name, EventName.FINISHED, fields)
        return number

    async def _leave_nothing(self, settings: App) -> None:
        """Close sockets that did open, and remove units and pins."""
        name = settings.name
        try:
            await self._teardown.take_down(name, settings.stop.timeout + JOB_MARGIN)
            for instance in self._pins.held(name):
                self._pins.unpin(name, instance)
        except DeploydError as error:
            log.warning("%s: what was installed of it cannot be removed: %s", name, error)

    async def reinstalled(self, app: App, release: str, digest: str, current: Generation) -> bool:
        """Install the units again and return True if the app file and the release, whose contents have the `digest`,
        are those of the current generation, its files exist and its routing is in force.

        Raises Refused, StateError and SystemdError.
        """
        settings = app.with_learned(current.settings.gate.timeout)
        unchanged = (
            current.fingerprint.partition(OTHERS)[0] == settings.fingerprint(release, digest)
            and current.settings == settings
            and current.number in self._pins.generations(app.name)
            and not self._deployment.changes_routing(settings)
        )
        if unchanged:
            await self._deployment.check(settings)
            goal = self._generations.goal(settings, current.number, current.fingerprint)
            await self._deployment.install(settings, goal)
        return unchanged
