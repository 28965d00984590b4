"""[rollout.hooks]: commands that run `before` a rollout changes anything, and `after` it has succeeded.

They run one after the other as the transient unit NAME:hook.service. No app's name has a colon, so the name belongs to
no other unit; and since there is only one, a hook that outlives the daemon keeps the next rollout from running a
second one at the same time.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator

from deployd.errors import Busy, Refused, SystemdError
from deployd.model import advice, unit_name
from deployd.model.app import App
from deployd.model.event import Emit
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause
from deployd.model.pace import HookKind
from deployd.rollout.hook_runner import Change, HookRunner, leftover
from deployd.systemd.transient import Transient

log = logging.getLogger(__name__)

CAUSES = frozenset({Cause.APPLY, Cause.ROLLOUT, Cause.RELOAD, Cause.ROLLBACK, Cause.WATCH})
"""The causes that hooks run for; a restart or a scaling brings no new release."""


class Hooks:
    """Runs these hooks of all apps, and reports each as an event ``hook``."""

    def __init__(self, transient: Transient, runner: HookRunner) -> None:
        self._transient = transient
        self._runner = runner
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
                f"a rollout of {name} begins as soon as {which} has ended; wait for it, or stop it with:"
                f" {advice.systemctl()} stop {unit_name.hook(name)}"
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
            stop = f"{advice.systemctl()} stop {unit_name.hook(name)}"
            raise Busy(f"{ours} of {name} is still running; wait for it, or stop it with: {stop}")
        if ours is None and await self._transient.running(unit_name.hook(name)):
            raise Refused(leftover(name, unit_name.hook(name)))
        failure = await self.run(HookKind.BEFORE, change, emit)
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
            return await self.run(HookKind.AFTER, change, emit)
        except Exception as error:
            if not isinstance(error, SystemdError):
                log.exception("%s: the after hooks could not be run", change.app.name)
            reason = f"the after hooks of {change.app.name} could not be run: {str(error) or repr(error)}"
            return Failure(gate=GateName.HOOK, reason=reason)

    async def run(self, kind: HookKind, change: Change, emit: Emit) -> Failure | None:
        """Run the hooks of `kind` in order, up to the first that fails; return its failure, or None.

        A hook of an earlier rollout that is still running is a failure, too. Raises SystemdError.
        """
        name = change.app.name
        for argv in change.app.pace.hooks.of(kind):
            self._running[name] = f"{kind} hook {shlex.join(argv)}"
            try:
                failure = await self._runner.run(unit_name.hook(name), kind, change, argv, emit)
            finally:
                del self._running[name]
            if failure is not None:
                return failure
        return None
