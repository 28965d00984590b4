"""Runs one hook as a transient unit, reports it as events ``hook``, and explains why it failed."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deployd.errors import SystemdError
from deployd.instances.commands import Commands
from deployd.instances.explanation import addition
from deployd.model import advice
from deployd.model.app import App
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause, Generation
from deployd.model.pace import NOTIFICATIONS, HookKind
from deployd.systemd.proxy import UnitExists
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Command, Outcome, Transient


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


class HookRunner:
    """Runs hooks of all apps."""

    def __init__(self, transient: Transient, tail: Tail, commands: Commands) -> None:
        self._transient = transient
        self._tail = tail
        self._commands = commands

    async def run(
        self,
        unit: str,
        kind: HookKind,
        change: Change,
        argv: tuple[str, ...],
        emit: Emit,
        *,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Failure | None:
        """Run a command as `unit`; return its failure, or None. A `unit` that runs already is a failure, too.

        The command gets `environment` beyond that of each hook, and the file `stdin` as standard input. Raises
        SystemdError.
        """
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
        since = time.monotonic()
        try:
            built = await self._command(kind, change, argv, environment or {})
            outcome = await self._transient.run(unit, replace(built, stdin=stdin))
        except UnitExists:
            failure = Failure(gate=GateName.HOOK, reason=leftover(change.app.name, unit), waited_for=command)
            event("failed", reason=failure.reason)
            return failure
        except SystemdError as error:
            event("failed", reason=str(error))
            raise
        except asyncio.CancelledError:
            why = "deployd stops" if kind in NOTIFICATIONS else "the rollout was changed by a request"
            event("failed", reason=f"{kind} hook {command} was stopped, because {why}")
            raise
        if outcome.succeeded:
            event("succeeded", exit_status=0, duration=round(outcome.seconds, 3))
            return None
        failure = await self._failure(kind, command, outcome, unit, since)
        ended = {"exit_status": failure.exit_status, "signal": failure.signal, "journal": list(failure.journal)}
        event("failed", reason=failure.reason, **ended, duration=round(outcome.seconds, 3))
        return failure

    async def _failure(self, kind: HookKind, command: str, outcome: Outcome, unit: str, since: float) -> Failure:
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

    async def _command(
        self, kind: HookKind, change: Change, argv: tuple[str, ...], environment: Mapping[str, str]
    ) -> Command:
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
                **environment,
            },
            timeout=change.app.pace.hooks.timeout,
        )


def leftover(app: str, unit: str) -> str:
    """Return the sentence about a hook that outlived the daemon that had begun it."""
    return (
        f"a hook of an earlier rollout of {app} is still running ({unit}), begun before deployd was restarted;"
        f" wait for it, or stop it with: {advice.systemctl()} stop {unit}"
    )
