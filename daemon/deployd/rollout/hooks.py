"""[rollout.hooks]: commands that run `before` a rollout changes anything, and `after` it has succeeded.

They run one after the other as the transient unit NAME:hook.service. No app's name has a colon, so the name belongs to
no other unit; and since there is only one, a hook that outlives the daemon keeps the next rollout from running a
second one at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deployd.errors import Busy, Refused, SystemdError
from deployd.instances.commands import Commands
from deployd.instances.explanation import addition
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause, Generation
from deployd.systemd.proxy import UnitExists
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Command, Outcome, Transient

log = logging.getLogger(__name__)


class Kind(StrEnum):
    BEFORE = "before"
    AFTER = "after"


CAUSES = frozenset({Cause.APPLY, Cause.ROLLOUT, Cause.RELOAD, Cause.ROLLBACK, Cause.WATCH})
"""The causes that hooks run for; a restart or a scaling brings no new release."""


@dataclass(frozen=True, slots=True)
class Change:
    """The rollout that hooks run for."""

    app: App
    """The settings of the new generation."""
    generation: int
    """Its files are on the disk."""
    release: str
    cause: Cause
    old_generation: int | None = None
    old_release: str = ""

    @classmethod
    def of(cls, generation: Generation, releases: Mapping[int, str]) -> Change:
        """Return the change that a generation made; `releases` maps generations to releases."""
        old = generation.origin
        return cls(
            generation.settings,
            generation.number,
            generation.release,
            generation.cause,
            old,
            releases.get(old, "") if old is not None else "",
        )


class Hooks:
    """Runs the hooks of all apps, and reports each as an event ``hook``."""

    def __init__(self, transient: Transient, tail: Tail, commands: Commands) -> None:
        self._transient = transient
        self._tail = tail
        self._commands = commands
        self._ahead: set[str] = set()
        self._running: dict[str, str] = {}

    @contextlib.contextmanager
    def ahead(self, app: App, cause: Cause) -> Iterator[None]:
        """Mark a request that may wait for hooks, so that other requests are refused instead of waiting for it."""
        if cause not in CAUSES or not app.pace.hooks.before:
            yield
            return
        self._ahead.add(app.name)
        try:
            yield
        finally:
            self._ahead.discard(app.name)

    def refuse_if_ahead(self, name: str) -> None:
        """Raise Busy if a request of the app may wait for hooks."""
        if name in self._ahead:
            which = self._running.get(name, "the last of its before hooks")
            raise Busy(
                f"a rollout of {name} begins as soon as {which} has ended; wait for it, or stop it with: systemctl stop"
                f" {unit_name.hook(name)}"
            )

    async def before(self, change: Change, emit: Emit) -> bool:
        """Run the hooks that must succeed before a rollout begins; False if there are none.

        Raises Refused, with the last lines of a hook that failed.
        """
        if change.cause not in CAUSES:
            return False
        name = change.app.name
        ours = self._running.get(name)
        if ours is not None and change.app.pace.hooks.before:
            # An after hook of the rollout to be superseded, which may still succeed if these hooks fail.
            stop = f"systemctl stop {unit_name.hook(name)}"
            raise Busy(f"{ours} of {name} is still running; wait for it, or stop it with: {stop}")
        if ours is None and await self._transient.running(unit_name.hook(name)):
            raise Refused(_leftover(name))
        failure = await self.run(Kind.BEFORE, change, emit)
        if failure is not None:
            sentence = f"{failure.reason}: the rollout of {name} is refused, nothing has changed"
            raise Refused(sentence, failure.journal)
        return bool(change.app.pace.hooks.before)

    async def after(self, change: Change, emit: Emit) -> Failure | None:
        """Run the hooks that follow a success. Never raises, because a failure does not undo the rollout.

        A hook that a killed daemon left running is awaited; then all hooks run again.
        """
        if change.cause not in CAUSES:
            return None
        try:
            if change.app.pace.hooks.after:
                await self._transient.settle(unit_name.hook(change.app.name))
            return await self.run(Kind.AFTER, change, emit)
        except Exception as error:
            if not isinstance(error, SystemdError):
                log.exception("%s: the after hooks could not be run", change.app.name)
            reason = f"the after hooks of {change.app.name} could not be run: {str(error) or repr(error)}"
            return Failure(gate=GateName.HOOK, reason=reason)

    async def run(self, kind: Kind, change: Change, emit: Emit) -> Failure | None:
        """Run the hooks of `kind` in order, up to the first that fails; return its failure, or None.

        A hook of an earlier rollout that is still running is a failure, too. Raises SystemdError.
        """
        hooks = change.app.pace.hooks
        for argv in hooks.before if kind is Kind.BEFORE else hooks.after:
            failure = await self._one(kind, change, argv, emit)
            if failure is not None:
                return failure
        return None

    async def _one(self, kind: Kind, change: Change, argv: tuple[str, ...], emit: Emit) -> Failure | None:
        name, unit = change.app.name, unit_name.hook(change.app.name)
        command = shlex.join(argv)

        def event(state: str, **fields: Any) -> None:
            rollout = {"from": change.old_generation, "to": change.generation, "generation": change.generation}
            hook: dict[str, Any] = {
                "hook": str(kind),
                "command": command,
                "state": state,
                "exit_status": None,
                "journal": [],
            }
            emit(EventName.HOOK, {**rollout, **hook, **fields})

        event("started")
        self._running[name] = f"{kind} hook {command}"
        since = time.monotonic()
        try:
            outcome = await self._transient.run(unit, await self._command(kind, change, argv))
        except UnitExists:
            failure = Failure(gate=GateName.HOOK, reason=_leftover(name), waited_for=command)
            event("failed", reason=failure.reason)
            return failure
        except SystemdError as error:
            event("failed", reason=str(error))
            raise
        except asyncio.CancelledError:
            event("failed", reason=f"{kind} hook {command} was stopped, because the rollout was changed by a request")
            raise
        finally:
            del self._running[name]
        if outcome.succeeded:
            event("succeeded", exit_status=0, duration=round(outcome.seconds, 3))
            return None
        failure = await self._failure(kind, command, outcome, unit, since)
        ended = {"exit_status": failure.exit_status, "signal": failure.signal, "journal": list(failure.journal)}
        event("failed", reason=failure.reason, **ended, duration=round(outcome.seconds, 3))
        return failure

    async def _failure(self, kind: Kind, command: str, outcome: Outcome, unit: str, since: float) -> Failure:
        account = await self._tail.account(outcome.invocation_id, unit, since)
        return Failure(
            gate=GateName.HOOK,
            reason=f"{kind} hook {command} {outcome}{addition(account, (), str(outcome))}",
            waited_for=f"{command} to exit with status 0",
            waited=round(outcome.seconds, 3),
            exit_status=outcome.exit_status,
            signal=outcome.signal,
            journal=account.lines,
        )

    async def _command(self, kind: Kind, change: Change, argv: tuple[str, ...]) -> Command:
        old = change.old_generation
        return await self._commands.of_generation(
            change.app,
            change.generation,
            argv,
            f"{kind} hook",
            release=change.release,
            environment={
                "DEPLOYD_OLD_GENERATION": "" if old is None else str(old),
                "DEPLOYD_OLD_RELEASE": change.old_release,
                "DEPLOYD_CAUSE": str(change.cause),
                "DEPLOYD_HOOK": str(kind),
            },
            timeout=change.app.pace.hooks.timeout,
        )


def _leftover(name: str) -> str:
    unit = unit_name.hook(name)
    return (
        f"a hook of an earlier rollout of {name} is still running ({unit}), begun before deployd was restarted;"
        f" wait for it, or stop it with: systemctl stop {unit}"
    )
