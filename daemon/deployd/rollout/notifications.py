"""Hooks that report what happened to an app: `failed`, `paused`, `rolled_back` and `finished` of [rollout.hooks].

They decide nothing, and no rollout waits for them. Each gets a JSON document on its standard input, from a file that is
removed when its hooks have ended: after a restart of the daemon, those that were due or under way run again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd import config
from deployd.errors import DeploydError, SystemdError
from deployd.model import unit_name
from deployd.model.clock import iso
from deployd.model.event import Emit, EventName
from deployd.model.generation import Cause, Generation, Result
from deployd.model.pace import HookKind
from deployd.rollout.hook_runner import Change, HookRunner
from deployd.state.history import History
from deployd.state.spool import Spool
from deployd.systemd.transient import Transient

log = logging.getLogger(__name__)


def kinds(event: EventName, fields: Mapping[str, Any]) -> tuple[HookKind, ...]:
    """Return the hooks that report an event. Pure."""
    match event:
        case EventName.FAILED_GATE:
            return (HookKind.FAILED,)
        case EventName.WATCH if fields["state"] == "failed":
            return (HookKind.FAILED,)
        case EventName.STARTED if fields["cause"] == Cause.WATCH:
            return (HookKind.FAILED,)  # of the probation
        case EventName.PAUSED:
            return (HookKind.PAUSED,)
        case EventName.TAKEN_BACK:
            return (HookKind.ROLLED_BACK,)
        case EventName.FINISHED if fields["result"] == Result.ROLLED_BACK:
            return (HookKind.ROLLED_BACK, HookKind.FINISHED)
        case EventName.FINISHED:
            return (HookKind.FINISHED,)
    return ()


class Notifications:
    """Of one app. `emit` gets all events, also those of these hooks."""

    def __init__(
        self, app: str, history: History, spool: Spool, transient: Transient, runner: HookRunner, emit: Emit
    ) -> None:
        self._app = app
        self._history = history
        self._spool = spool
        self._transient = transient
        self._runner = runner
        self._emit = emit
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Run the hooks for what waits, if anything does, one after another."""
        if not self._stopped and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._deliver())

    async def stop(self) -> None:
        """Stop running hooks. What was not delivered waits for the next start of the daemon."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def end(self) -> None:
        """Stop, and forget what was not delivered: the app is removed."""
        await self.stop()
        try:
            self._spool.forget(self._app)
        except DeploydError as error:
            log.warning("%s: %s", self._app, error)

    def report(self, event: EventName, fields: dict[str, Any]) -> None:
        """Emit an event, and have the hooks for it run soon. Nothing that happened depends on them."""
        self._emit(event, fields)
        for kind in kinds(event, fields):
            try:
                generation = self._generation(fields)
                if generation is not None and generation.settings.pace.hooks.of(kind):
                    self._spool.add(self._app, json.dumps(self._document(kind, event, fields, generation)))
                    self.start()
            except DeploydError as error:
                log.warning("%s: %s was not reported to the %s hooks: %s", self._app, event, kind, error)

    def _generation(self, fields: Mapping[str, Any]) -> Generation | None:
        """Return the generation whose hooks report the event: the new one."""
        number = fields.get("by") or fields.get("to") or fields.get("generation")
        return self._history.generation(self._app, number) if number else None

    def _document(
        self, kind: HookKind, event: EventName, fields: Mapping[str, Any], generation: Generation
    ) -> Mapping[str, Any]:
        what = {"hook": kind, "app": self._app, "host": os.uname().nodename, "event": event, "time": iso(time.time())}
        return {**what, "release": generation.release, **fields}

    async def _deliver(self) -> None:
        try:
            while waiting := self._spool.pending(self._app):
                await self._report(waiting[0])
                self._spool.remove(waiting[0])
        except DeploydError as error:
            log.warning("%s: the hooks that report what happened could not be run: %s", self._app, error)
        except Exception:
            log.exception("%s: the hooks that report what happened could not be run", self._app)

    async def _report(self, path: Path) -> None:
        """Run the hooks for a document, each of them whether or not the one before has failed."""
        document = json.loads(self._spool.read(path))
        kind = HookKind(document["hook"])
        generation = self._generation(document)
        if generation is None:
            return  # it was pruned while the daemon was stopped
        change = Change.of(generation, self._history.releases(self._app, [generation.origin]))
        unit = unit_name.notification(self._app)
        said = {"RESULT": document.get("result"), "REASON": document.get("reason")}
        environment = {f"DEPLOYD_{key}": config.one_line(str(value or "")) for key, value in said.items()}
        for argv in generation.settings.pace.hooks.of(kind):
            try:
                await self._transient.settle(unit)  # one that an earlier daemon has begun
                await self._runner.run(unit, kind, change, argv, self._emit, environment=environment, stdin=str(path))
            except SystemdError as error:
                log.warning("%s: a %s hook could not be run: %s", self._app, kind, error)
