"""[rollout.analysis]: a command of the new release that judges the rollout while both generations serve.

When the command is due and which actions wait for it is decided in plan/analysis.py. Results are kept in memory only:
after a restart of the daemon the command runs again.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from deployd.alarm import Alarm
from deployd.errors import DeploydError
from deployd.model.action import Action
from deployd.model.clock import Timestamp
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Generation
from deployd.model.instance import Instance
from deployd.model.pace import AnalysisSettings
from deployd.model.rollout import Phase
from deployd.plan import analysis
from deployd.plan.analysis import CAUSES, Record
from deployd.rollout.active import ActiveRollout
from deployd.rollout.analysis_command import AnalysisCommand

log = logging.getLogger(__name__)

TRIES = 3
"""Attempts in a row that cannot run the command, after which the rollout fails; otherwise it would wait for ever."""


class Analysis:
    """Runs the analysis of one app. `wake` has the control loop call :meth:`update`."""

    def __init__(
        self,
        app: str,
        command: AnalysisCommand,
        *,
        wake: Callable[[], None],
        emit: Emit,
    ) -> None:
        self._app = app
        self._command = command
        self._wake = wake
        self._emit = emit
        self._active: ActiveRollout | None = None
        self._record = Record()
        self._failure: Failure | None = None
        self._errors = 0
        self._reported = ""
        self._task: asyncio.Task[None] | None = None
        self._alarm = Alarm(wake)

    def update(self, active: ActiveRollout | None, instances: Iterable[Instance]) -> Failure | None:
        """Run the command if it is due for the rollout that is planned; return its failure once there is one."""
        wanted = None if active is None else _settings(active)
        if active is None or wanted is None or active is not self._active:
            self.end()
        if active is None or wanted is None:
            return None
        self._active, target, now = active, active.target, time.monotonic()
        if not analysis.both_serve(target.number, instances):
            self._record = replace(self._record, since=None)
        elif self._record.since is None:
            self._record = replace(self._record, since=now)
        if not analysis.old_left(target.number, instances):
            self._cancel()  # nothing is left to compare with or to roll back to
        due = analysis.due(self._record, wanted.interval)
        self._alarm.clear()
        if due is not None and self._task is None and self._failure is None:
            if due > now:
                self._alarm.set(due - now)
            else:
                self._task = asyncio.ensure_future(self._attempt(target, wanted))
        return self._failure

    def allowed(self, actions: tuple[Action, ...], instances: Iterable[Instance]) -> tuple[Action, ...]:
        """Return the actions that need not wait for a success, as of the last :meth:`update`."""
        if self._active is None:
            return actions
        rollout, now = self._active.rollout, Timestamp.now()
        progressed = rollout.since if rollout.boot == now.boot else 0.0
        some = analysis.allowed(actions, rollout.target, instances, self._record, progressed)
        if some != actions:
            self._report(self._active.target, "waiting", "the last old instances continue to serve until it succeeds")
        return some

    def end(self) -> None:
        """Stop the command, and forget its results."""
        self._alarm.clear()
        self._cancel()
        self._active, self._record, self._failure, self._errors, self._reported = None, Record(), None, 0, ""

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _attempt(self, target: Generation, settings: AnalysisSettings) -> None:
        """Run the command once. A cancelled attempt changes nothing: another may have taken its place."""
        began = time.monotonic()
        try:
            failure = await self._command.run(target, settings)
            self._errors = 0
        except DeploydError as error:
            failure = self._not_run(settings, error)
        except Exception as error:
            log.exception("%s: the analysis could not be run", self._app)
            failure = self._not_run(settings, error)
        self._task, self._failure = None, failure
        good = began if failure is None and not self._errors else self._record.good
        self._record = replace(self._record, ended=time.monotonic(), good=good)
        if good == began:
            self._report(target, "succeeded", f"{shlex.join(settings.command)} exited with status 0")
        self._wake()

    def _not_run(self, settings: AnalysisSettings, error: Exception) -> Failure | None:
        self._errors += 1
        if self._errors < TRIES:
            log.warning("%s: the analysis could not be run: %s; trying again", self._app, error)
            return None
        words = shlex.join(settings.command)
        reason = f"analysis {words} could not be run: {error}"
        return Failure(GateName.ANALYSIS, reason, waited_for=f"{words} to exit with status 0")

    def _report(self, target: Generation, state: str, reason: str) -> None:
        """Report a change of state only: a canary may stay for days, with a run every few seconds."""
        if state != self._reported:
            self._reported = state
            self._emit(EventName.ANALYSIS, {"generation": target.number, "state": state, "reason": reason})


def _settings(active: ActiveRollout) -> AnalysisSettings | None:
    """Return the settings of the analysis that the rollout needs in its present phase, or None."""
    going = active.rollout.phase is not Phase.ROLLING_BACK and not active.rollout.suspended
    going = going and active.rollout.previewed is None  # an instance without clients cannot be compared
    return active.target.settings.pace.analysis if going and active.target.cause in CAUSES else None
