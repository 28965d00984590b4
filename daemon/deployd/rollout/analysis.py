"""[rollout.analysis]: a command of the new release that says whether a rollout is well, while both generations serve.

It runs as the transient unit NAME:analysis.service, as the app's user. What `deployd compare` tells is in a file that
DEPLOYD_COMPARE names: a credential of the unit (systemd.exec(5), SetCredential=), which only that user can read and
which goes away with it. Exit status 0 is yes; anything else, a time-out included, fails the rollout. When it is due and
what waits for it is in plan/analysis.py. What it said does not outlive the daemon: the next one asks again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from deployd.alarm import Alarm
from deployd.errors import DeploydError
from deployd.model import unit_name
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
from deployd.rollout.host import Host
from deployd.systemd.proxy import UnitExists
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command, Outcome

log = logging.getLogger(__name__)

TRIES = 3
"""So often in a row it may be impossible to run the command; then that fails the rollout, which would wait for ever."""

NOTICE = 5
"""LOG_NOTICE: what the command writes is logged, systemd's own words about each run are less and are not."""

CREDENTIAL = "compare"


Compare = Callable[[str], Awaitable[dict[str, Any]]]
"""An app's name to the JSON of compare."""


class Analysis:
    """Of one app. `wake` has the control loop call :meth:`look`."""

    def __init__(self, app: str, host: Host, compare: Compare, wake: Callable[[], None], tell: Emit) -> None:
        self._app = app
        self._host = host
        self._compare = compare
        self._wake = wake
        self._tell = tell
        self._course: ActiveRollout | None = None
        self._record = Record()
        self._failure: Failure | None = None
        self._errors = 0
        self._told = ""
        self._task: asyncio.Task[None] | None = None
        self._alarm = Alarm(wake)

    def look(self, course: ActiveRollout | None, instances: Iterable[Instance]) -> Failure | None:
        """Begin what is due for the rollout that goes on or is held, if one does; the failure, once there is one."""
        wanted = None if course is None else _table(course)
        if course is None or wanted is None or course is not self._course:
            self.end()
        if course is None or wanted is None:
            return None
        self._course, target, now = course, course.target, time.monotonic()
        if not analysis.both_serve(target.number, instances):
            self._record = replace(self._record, since=None)
        elif self._record.since is None:
            self._record = replace(self._record, since=now)
        if not analysis.old_left(target.number, instances):
            self._cancel()  # it has nothing to compare with, and nothing to go back for
        due = analysis.due(self._record, wanted.interval)
        self._alarm.clear()
        if due is not None and self._task is None and self._failure is None:
            if due > now:
                self._alarm.set(due - now)
            else:
                self._task = asyncio.ensure_future(self._ask(target, wanted))
        return self._failure

    def allowed(self, actions: tuple[Action, ...], instances: Iterable[Instance]) -> tuple[Action, ...]:
        """What may be done before the answer; after :meth:`look`."""
        if self._course is None:
            return actions
        rollout, moment = self._course.rollout, Timestamp.now()
        got_on = rollout.since if rollout.boot == moment.boot else 0.0
        some = analysis.allowed(actions, rollout.target, instances, self._record, got_on)
        if some != actions:
            self._say(self._course.target, "waiting", "the last old instances serve on until it has said yes")
        return some

    def end(self) -> None:
        """Ask nobody any more, and forget what was said."""
        self._alarm.clear()
        self._cancel()
        self._course, self._record, self._failure, self._errors, self._told = None, Record(), None, 0, ""

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _ask(self, target: Generation, table: AnalysisSettings) -> None:
        """One run. A cancelled one is not heard of any more: somebody else may be in its place."""
        began = time.monotonic()
        try:
            failure = await self._run(target, table, began)
            self._errors = 0
        except DeploydError as error:
            failure = self._not_run(table, error)
        except Exception as error:
            log.exception("%s: the analysis could not be run", self._app)
            failure = self._not_run(table, error)
        self._task, self._failure = None, failure
        good = began if failure is None and not self._errors else self._record.good
        self._record = replace(self._record, ended=time.monotonic(), good=good)
        if good == began:
            self._say(target, "succeeded", f"{shlex.join(table.command)} exited with status 0")
        self._wake()

    async def _run(self, target: Generation, table: AnalysisSettings, began: float) -> Failure | None:
        unit = unit_name.analysis(self._app)
        comparison = await self._compare(self._app)
        command = await self._command(target, table, json.dumps(comparison))
        try:
            outcome = await self._host.transient.run(unit, command)
        except UnitExists:
            # Of a daemon that died, or of a run that was just stopped: it ends by its own time-outs.
            await self._host.transient.settle(unit)
            outcome = await self._host.transient.run(unit, command)
        return None if outcome.succeeded else await self._failed(table, outcome, began)

    async def _failed(self, table: AnalysisSettings, outcome: Outcome, began: float) -> Failure:
        words = shlex.join(table.command)
        return Failure(
            gate=GateName.ANALYSIS,
            reason=f"analysis {words} {outcome}",
            waited_for=f"{words} to exit with status 0",
            waited=round(outcome.seconds, 3),
            exit_status=outcome.exit_status,
            signal=outcome.signal,
            journal=await self._host.tail(outcome.invocation_id, unit_name.analysis(self._app), began),
        )

    def _not_run(self, table: AnalysisSettings, error: Exception) -> Failure | None:
        self._errors += 1
        if self._errors < TRIES:
            log.warning("%s: the analysis could not be run: %s; trying again", self._app, error)
            return None
        words = shlex.join(table.command)
        reason = f"analysis {words} could not be run: {error}"
        return Failure(GateName.ANALYSIS, reason, waited_for=f"{words} to exit with status 0")

    async def _command(self, target: Generation, table: AnalysisSettings, comparison: str) -> Command:
        command = await self._host.commands.of_generation(
            target.settings,
            target.number,
            table.command,
            "analysis",
            release=target.release,
            environment={
                "DEPLOYD_PREVIOUS_GENERATION": "" if target.origin is None else str(target.origin),
                "DEPLOYD_COMPARE": f"/run/credentials/{unit_name.analysis(self._app)}/{CREDENTIAL}",
            },
            timeout=table.timeout,
        )
        extra: ServiceSettings = {
            "SetCredential": ("a(say)", [[CREDENTIAL, comparison.encode()]]),
            "SyslogLevel": ("i", NOTICE),
            "LogLevelMax": ("i", NOTICE),
        }
        return replace(command, extra=extra)

    def _say(self, target: Generation, state: str, reason: str) -> None:
        """When it is news: a canary may be held for days."""
        if state != self._told:
            self._told = state
            self._tell(EventName.ANALYSIS, {"generation": target.number, "state": state, "reason": reason})


def _table(course: ActiveRollout) -> AnalysisSettings | None:
    """What is to be run for the rollout as it is now."""
    going = course.rollout.phase is not Phase.ROLLING_BACK and not course.rollout.suspended
    return course.target.settings.pace.analysis if going and course.target.cause in CAUSES else None
