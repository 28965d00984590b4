"""Starts the rollout of a new generation."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

from deployd.apps.announcer import Announcer
from deployd.apps.supervisor import Supervisor
from deployd.errors import Refused
from deployd.files.walk import OWN, ROOT
from deployd.model import advice
from deployd.model.app import WEB, App
from deployd.model.event import EventName
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Cause, Generation
from deployd.model.rollout import Hold
from deployd.plan import goal as goals
from deployd.plan import preview as previews
from deployd.rollout.controller import Controller
from deployd.rollout.generation_builder import GenerationBuilder, Wanted
from deployd.rollout.reversibility import Reversibility
from deployd.state.history import History
from deployd.units.deployment import Deployment


class RolloutStarter:
    """For all apps. Warnings are reported through `announcer`."""

    def __init__(
        self,
        supervisor: Supervisor,
        builder: GenerationBuilder,
        reversibility: Reversibility,
        history: History,
        deployment: Deployment,
        announcer: Announcer,
    ) -> None:
        self._supervisor = supervisor
        self._builder = builder
        self._reversibility = reversibility
        self._history = history
        self._deployment = deployment
        self._announcer = announcer

    def canary(self, app: App, count: int, share: float) -> Hold | None:
        """Return the hold at a canary; None if none is wanted. Raises InvalidRequest and Refused."""
        return goals.canary(app, count, share, steers=self._deployment.can_steer(app))

    def preview(self, app: App) -> Hold:
        """Return the hold at a preview. Raises Refused."""
        return previews.preview(app, steers=self._deployment.can_steer(app))

    async def begin(
        self,
        app: App,
        release: str,
        cause: Cause,
        again: Generation | None = None,
        *,
        only: str = "",
        canary: Hold | None = None,
        preview: Hold | None = None,
        warnings: Iterable[str] = (),
        reason: str = "",
        fleet: FleetRequest | None = None,
    ) -> int:
        """Build the next generation of an app and its process types, start its rollout and return its number.

        `again` as for GenerationBuilder.build(); `only` is the process type that a restart is for, "" for all;
        `warnings` are reported with the rollout; `reason` says why deployd itself began it; `fleet` is the rollout of
        several hosts to which it belongs. Raises Refused, StateError and SystemdError.
        """
        name = app.name
        if self._history.current(name) is None:
            _refuse_holds(name, canary, preview)
        controllers = [self._supervisor.controller(item.name, name) for item in app.members]
        self._refuse_leaving(name, controllers)
        for controller in controllers:
            await controller.ready()
        built = await self._builder.build([self._wanted(item, cause, again, only) for item in app.members], release)
        lost = await self._reversibility.lost_origin(name)
        mark, words = await self._reversibility.mark(built[0], controllers[0].observe())
        # Nothing is awaited from here on, or the rollout that is superseded could end meanwhile.
        self._refuse_leaving(name, controllers)
        superseded = controllers[0].target
        # Irreversibility is inherited from a superseded rollout: its migrations may have run.
        inherited = superseded is not None and superseded.irreversible
        irreversible = app.pace.irreversible or bool(mark) or inherited
        generations = [self._stamped(item, reason, fleet, irreversible=irreversible) for item in built]
        generation = generations[0]
        # The first deployment has no generation to be compared with, and a rollback must not wait.
        waits = generation.origin is not None and not (cause.rolls_back or cause is Cause.SCALE)
        steers = self._deployment.can_steer(generation.settings)
        holds = goals.holds(generation.settings, canary, steers=steers) if waits else ()
        first = preview or self._smoke_hold(generation, steers=steers)
        others = [self._smoke_hold(item, steers=self._deployment.can_steer(item.settings)) for item in generations[1:]]
        steps = [holds if first is None else (first, *holds), *(() if item is None else (item,) for item in others)]
        controllers[0].begin_together(list(zip(controllers, generations, steps, strict=True)))
        for warning in warnings:
            self._warn(generation, warning)
        if lost:
            self._warn(generation, f"{lost}: if this rollout fails, it cannot be rolled back")
        if mark:
            self._warn(generation, f"generation {generation.number} is irreversible, {mark}", words)
        return generation.number

    def _stamped(self, built: Generation, reason: str, fleet: FleetRequest | None, *, irreversible: bool) -> Generation:
        """Return a generation with what is known only when its rollout begins."""
        return replace(
            built,
            started=time.time(),
            origin=self._history.current(built.app),
            reason=reason,
            irreversible=irreversible,
            fleet=fleet.fleet if fleet is not None else "",
            token=fleet.token if fleet is not None else 0,
        )

    def _wanted(self, app: App, cause: Cause, again: Generation | None, only: str) -> Wanted:
        """Return the generation to build of an app or a process type."""
        if only and only != (app.process or WEB):
            cause = Cause.RESTART_PROCESS
        if again is not None and app.process:
            again = self._history.generation(app.name, again.number)
        return Wanted(app, cause, again)

    def _refuse_leaving(self, name: str, controllers: Collection[Controller]) -> None:
        """Raise Refused if a process type that the new generation has no longer is being rolled out."""
        for item in self._supervisor.members(name):
            if item.rollout is not None and item not in controllers:
                process = item.name.removeprefix(f"{name}.")
                raise Refused(
                    f"the rollout of {name} that is under way has the process type {process}, which the new generation"
                    f" has no longer; first roll it back with {advice.deployd()} abort {name}, or wait for its end"
                )

    def _smoke_hold(self, generation: Generation, *, steers: bool) -> Hold | None:
        """Return the hold at which the smoke tests run, if there are any."""
        origin = generation.origin
        adopts = origin is not None and origin in self._history.same(generation.app, generation.fingerprint)
        replaces = origin is not None
        return previews.smoke_hold(
            generation.settings, generation.cause, replaces=replaces, adopts=adopts, steers=steers, of_user=OWN != ROOT
        )

    def _warn(self, generation: Generation, reason: str, lines: Iterable[str] = ()) -> None:
        fields = {"from": generation.origin, "to": generation.number, "reason": reason, "journal": list(lines)}
        self._announcer.event(generation.app, EventName.WARNING, fields)


def _refuse_holds(name: str, canary: Hold | None, preview: Hold | None) -> None:
    """Raise Refused if the first deployment is to begin with a canary or a preview."""
    if canary is not None:
        raise Refused(f"{name} is not deployed yet: a canary needs a generation to run alongside")
    if preview is not None:
        raise Refused(
            f"{name} is not deployed yet: without an instance that serves, clients would wait for the preview"
        )
