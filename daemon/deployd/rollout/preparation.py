"""What instances of the active rollout are started from: unit files, open sockets, and the release."""

from __future__ import annotations

import logging
from dataclasses import replace

from deployd import config
from deployd.errors import NoAnswer, StateError
from deployd.files.workers import Workers
from deployd.instances.resources import ResourceReader
from deployd.model.clock import Timestamp
from deployd.model.instance import OUT_OF_SERVICE, Instance
from deployd.model.rollout import Phase
from deployd.plan.goal import Goal
from deployd.plan.surge import rollback_surge
from deployd.rollout.active import ActiveRollout, Aim
from deployd.rollout.recorder import Recorder
from deployd.units.deployment import Deployment

log = logging.getLogger(__name__)


class Preparation:
    """Prepares the phases of one app's rollouts. Methods raise Refused, StateError and SystemdError."""

    def __init__(
        self, app: str, recorder: Recorder, deployment: Deployment, workers: Workers, resources: ResourceReader
    ) -> None:
        self._app = app
        self._recorder = recorder
        self._deployment = deployment
        self._workers = workers
        self._resources = resources

    async def prepare(self, active: ActiveRollout, seen: tuple[Instance, ...]) -> bool:
        """Find the aim of the present phase and install its units; False if a request changed the phase meanwhile."""
        rollout = active.rollout
        aim = self._recorder.find_aim(active, Timestamp.now())
        surging = await self._with_rollback_surge(aim, seen) if active.rolls_back else aim
        try:
            goal = await self._install(active, surging)
        except StateError as error:
            if surging == aim:
                raise
            # The usual number of instances may need no change of the units.
            log.warning("%s: rolling back without rollback_surge: %s", self._app, error)
            goal = await self._install(active, aim)
        if active.over or active.rollout is not rollout:
            return False
        active.aim = replace(aim, goal=goal)
        return True

    async def _with_rollback_surge(self, aim: Aim, seen: tuple[Instance, ...]) -> Aim:
        if not aim.goal.generation or not aim.goal.overlap:
            return aim
        surge = rollback_surge(aim.generation.settings, await self._resources.read(aim.goal, seen))
        if surge.limit:
            log.info("%s: %s limits the surge of the rollback to %d", self._app, surge.limit, surge.count)
        return replace(aim, goal=aim.goal.surging(aim.generation.settings, surge.count))

    async def _install(self, active: ActiveRollout, aim: Aim) -> Goal:
        """Install the units of the aim, once per direction: a resumed rollout finds them in place.

        Returns the goal with the instance numbers that it cannot use.
        """
        goal, settings, closing = aim.goal, aim.generation.settings, active.rollout.closing
        if not goal.generation:
            return goal
        if not self._deployment.steers(self._app) or self._deployment.changes_routing(settings):
            goal = replace(goal, standby=None)  # with one shared socket, frozen instances would get connections too
        if goal.drains and (self._deployment.sockets(self._app) or self._deployment.has_own_sockets(self._app)):
            goal = replace(goal, drains=False)  # those that have a socket must have ended before it is closed
        key = goal.generation, closing, goal.ceiling
        if active.avoid is None or active.avoid[0] != key:
            active.avoid = (
                key,
                await self._deployment.install(
                    settings,
                    goal,
                    closing=closing,
                    lenient=active.rollout.phase is Phase.ROLLING_BACK,
                    urgent=active.rolls_back,
                ),
            )
        unfit = self._deployment.unfit(self._app)
        self._recorder.leave_out(active, {number: why for number, why in unfit.items() if number <= goal.ceiling})
        return replace(
            goal,
            avoid=active.avoid[1],
            masked=self._deployment.masked(self._app) | active.unfit,
            special=self._deployment.special(self._app),
        )

    async def missing(self, active: ActiveRollout, seen: tuple[Instance, ...]) -> str:
        """Return why no instance can be started from the release of the aim, or "".

        A rollback whose instances all run needs no release. Raises StateError if the file system does not answer,
        which may pass and says nothing about the release.
        """
        if active.aim is None:
            return ""
        goal, generation = active.aim.goal, active.aim.generation
        if not goal.generation:
            return ""
        if active.rollout.phase is Phase.ROLLING_BACK:
            running = sum(item.generation == goal.generation and item.state not in OUT_OF_SERVICE for item in seen)
            if running >= goal.instances:
                return ""
        try:
            return await self._workers.run(self._app, config.missing, generation.settings, generation.release)
        except NoAnswer as error:
            raise StateError(str(error)) from None
