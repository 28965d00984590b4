"""Starts the rollout of a new generation."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from deployd.apps.announcer import Announcer
from deployd.apps.supervisor import Supervisor
from deployd.errors import Refused
from deployd.model.app import App
from deployd.model.event import EventName
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Cause, Generation
from deployd.model.rollout import Hold
from deployd.plan import goal as goals
from deployd.plan import preview
from deployd.rollout.generation_builder import GenerationBuilder
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
        return preview.preview(app, steers=self._deployment.can_steer(app))

    async def begin(
        self,
        app: App,
        release: str,
        cause: Cause,
        again: Generation | None = None,
        *,
        canary: Hold | None = None,
        preview: Hold | None = None,
        warnings: Iterable[str] = (),
        reason: str = "",
        fleet: FleetRequest | None = None,
    ) -> int:
        """Build the next generation, start its rollout and return its number. `again` as for GenerationBuilder.build();
        `warnings` are reported with the rollout; `reason` says why deployd itself began it; `fleet` is the rollout of
        several hosts to which it belongs.

        Raises Refused, StateError and SystemdError.
        """
        name = app.name
        if canary is not None and self._history.current(name) is None:
            raise Refused(f"{name} is not deployed yet: a canary needs a generation to run alongside")
        if preview is not None and self._history.current(name) is None:
            raise Refused(
                f"{name} is not deployed yet: without an instance that serves, clients would wait for the preview"
            )
        controller = self._supervisor.controller(name)
        await controller.ready()
        built = await self._builder.build(app, release, cause, again)
        lost = await self._reversibility.lost_origin(name)
        mark, words = await self._reversibility.mark(built, controller.observe())
        # Nothing is awaited from here on, or the rollout that is superseded could end meanwhile.
        superseded = controller.target
        # Irreversibility is inherited from a superseded rollout: its migrations may have run.
        inherited = superseded is not None and superseded.irreversible
        generation = replace(
            built,
            started=time.time(),
            origin=self._history.current(name),
            reason=reason,
            irreversible=built.settings.pace.irreversible or bool(mark) or inherited,
            fleet=fleet.fleet if fleet is not None else "",
            token=fleet.token if fleet is not None else 0,
        )
        # The first deployment has no generation to be compared with, and a rollback must not wait.
        waits = generation.origin is not None and not (cause.rolls_back or cause is Cause.SCALE)
        steers = self._deployment.can_steer(generation.settings)
        holds = goals.holds(generation.settings, canary, steers=steers) if waits else ()
        controller.begin(generation, holds if preview is None else (preview, *holds))
        for warning in warnings:
            self._warn(generation, warning)
        if lost:
            self._warn(generation, f"{lost}: if this rollout fails, it cannot be rolled back")
        if mark:
            self._warn(generation, f"generation {generation.number} is irreversible, {mark}", words)
        return generation.number

    def _warn(self, generation: Generation, reason: str, lines: Iterable[str] = ()) -> None:
        fields = {"from": generation.origin, "to": generation.number, "reason": reason, "journal": list(lines)}
        self._announcer.event(generation.app, EventName.WARNING, fields)
