"""[rollout.analysis] after the rollout, while the new generation is on probation.

The generation before no longer serves, so its figures are those of the last run in the rollout. They are kept in memory
only: after a restart of the daemon the command does not run any more, as it would have nothing to compare.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from deployd.alarm import Alarm
from deployd.errors import DeploydError
from deployd.model.failure import Failure
from deployd.model.generation import Generation
from deployd.model.pace import AnalysisSettings
from deployd.plan.analysis import CAUSES
from deployd.rollout.analysis_command import AnalysisCommand

log = logging.getLogger(__name__)


class ProbationAnalysis:
    """Analyses generations of one app. `wake` has the control loop call :meth:`update`."""

    def __init__(self, app: str, command: AnalysisCommand, *, wake: Callable[[], None]) -> None:
        self._app = app
        self._command = command
        self._wake = wake
        self._alarm = Alarm(wake)
        self._of = 0
        self._due = 0.0
        self._failure: Failure | None = None
        self._task: asyncio.Task[None] | None = None

    def update(self, generation: Generation, now: float) -> Failure | None:
        """Run the command if it is due for `generation`; return its failure once there is one."""
        wanted = generation.settings.pace.analysis
        if wanted is None or generation.cause not in CAUSES or not self._command.has_compared(generation.number):
            return None
        if self._of != generation.number:
            self.end()
            self._of, self._due = generation.number, now + wanted.interval
        if self._task is None and self._failure is None:
            if now >= self._due:
                self._task = asyncio.ensure_future(self._attempt(generation, wanted))
            else:
                self._alarm.set(self._due - now)
        return self._failure

    def end(self) -> None:
        """Stop the command, and forget its results."""
        self._alarm.clear()
        if self._task is not None:
            self._task.cancel()
        self._of, self._failure, self._task = 0, None, None

    async def _attempt(self, generation: Generation, settings: AnalysisSettings) -> None:
        """Run the command once. One that cannot be run says nothing about the generation."""
        failure = None
        try:
            failure = await self._command.run_afterwards(generation, settings)
        except DeploydError as error:
            log.warning("%s: the analysis could not be run: %s; trying again", self._app, error)
        except Exception:
            log.exception("%s: the analysis could not be run; trying again", self._app)
        self._task, self._failure = None, failure
        self._due = asyncio.get_running_loop().time() + settings.interval
        self._wake()
