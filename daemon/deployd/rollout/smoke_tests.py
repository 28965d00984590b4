"""[gate] smoke: commands of the new release that test its first instance, before others follow and, where routing can
keep clients from it, before these reach it.

They run one after another as the transient unit NAME:smoke.service. Results are kept in memory only: after a restart of
the daemon, and when a paused rollout is resumed, all of them run again.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Callable
from dataclasses import replace

from deployd.errors import DeploydError
from deployd.instances.commands import Commands
from deployd.instances.explanation import addition
from deployd.model import unit_name
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure, GateName
from deployd.rollout.active import ActiveRollout
from deployd.systemd.proxy import UnitExists
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Command, Outcome, Transient
from deployd.units.text import socket_paths

log = logging.getLogger(__name__)


class SmokeTests:
    """The smoke tests of one app. `wake` has the control loop call :meth:`update`."""

    def __init__(
        self,
        app: str,
        transient: Transient,
        commands: Commands,
        tail: Tail,
        *,
        wake: Callable[[], None],
        emit: Emit,
    ) -> None:
        self._app = app
        self._unit = unit_name.smoke(app)
        self._transient = transient
        self._commands = commands
        self._tail = tail
        self._wake = wake
        self._emit = emit
        self._active: ActiveRollout | None = None
        self._task: asyncio.Task[None] | None = None
        self._done = False
        self._failure: Failure | None = None

    def update(self, active: ActiveRollout | None) -> Failure | None:
        """Stop tests that the rollout does not need any longer; return why they have failed, if they have."""
        if self._active is not None and (active is not self._active or not active.rollout.tests):
            self.end()
        return self._failure

    def passed(self, active: ActiveRollout, number: int) -> bool:
        """True if all tests of instance `number` have succeeded. Begins them if they have not begun."""
        if not active.target.settings.gate.smoke:
            return True
        if self._active is None:
            self._active = active
            self._task = asyncio.ensure_future(self._run(active, number))
        return self._done and self._failure is None

    def end(self) -> None:
        """Stop the tests, and forget their results."""
        if self._task is not None:
            self._task.cancel()
        self._active, self._task, self._done, self._failure = None, None, False, None

    async def _run(self, active: ActiveRollout, number: int) -> None:
        """Run the tests up to the first that fails. A cancelled run changes nothing: another may have begun."""
        failure = None
        for argv in active.target.settings.gate.smoke:
            try:
                failure = await self._test(active, number, argv)
            except Exception as error:
                if not isinstance(error, DeploydError):
                    log.exception("%s: a smoke test could not be run", self._app)
                words = shlex.join(argv)
                failure = self._failed(words, number, f"could not be run: {str(error) or repr(error)}")
            if failure is not None:
                break
        self._done, self._failure = True, failure
        self._wake()

    async def _test(self, active: ActiveRollout, number: int, argv: tuple[str, ...]) -> Failure | None:
        words, began = shlex.join(argv), time.monotonic()
        event = {"instance": number, "generation": active.target.number, "command": words}
        self._emit(EventName.SMOKE, {**event, "state": "started"})
        outcome = await self._outcome(await self._command(active, number, argv))
        if outcome.succeeded:
            self._emit(EventName.SMOKE, {**event, "state": "succeeded", "duration": round(outcome.seconds, 3)})
            return None
        account = await self._tail.account(outcome.invocation_id, self._unit, began)
        failed = self._failed(words, number, f"{outcome}{addition(account, (), str(outcome))}")
        return replace(
            failed,
            waited=round(outcome.seconds, 3),
            exit_status=outcome.exit_status,
            signal=outcome.signal,
            journal=account.lines,
        )

    async def _outcome(self, command: Command) -> Outcome:
        try:
            return await self._transient.run(self._unit, command)
        except UnitExists:
            # Left by a daemon that was killed, or by tests that were just stopped: it ends by its own time-outs.
            await self._transient.settle(self._unit)
            return await self._transient.run(self._unit, command)

    def _failed(self, words: str, number: int, how: str) -> Failure:
        reason = f"smoke test {words} of instance {number} {how}"
        return Failure(GateName.SMOKE, reason, waited_for=f"{words} to exit with status 0")

    async def _command(self, active: ActiveRollout, number: int, argv: tuple[str, ...]) -> Command:
        target = active.target
        reached = {"DEPLOYD_PREVIEW": socket_paths.preview(self._app)} if active.rollout.shows_preview else {}
        return await self._commands.of_generation(
            target.settings,
            target.number,
            argv,
            "smoke test",
            release=target.release,
            environment={"DEPLOYD_INSTANCE": str(number), **reached},
            timeout=target.settings.gate.smoke_timeout,
        )
