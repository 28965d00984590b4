"""One run of the command of [rollout.analysis].

It runs as the transient unit NAME:analysis.service, as the app's user. DEPLOYD_COMPARE names a file with the output of
`deployd compare --json`: a credential of the unit (systemd.exec(5), SetCredential=), which only that user can read and
which is removed with the unit. Exit status 0 means success; anything else, a time-out included, is a failure.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployd.instances.commands import Commands
from deployd.model import unit_name
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Generation
from deployd.model.pace import AnalysisSettings
from deployd.model.scope import SYSTEM
from deployd.systemd.proxy import UnitExists
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.tail import ReadLines
from deployd.systemd.transient import Command, Outcome, Transient

NOTICE = 5
"""LOG_NOTICE: what the command writes is logged; systemd's messages about each run, which are below it, are not."""

CREDENTIAL = "compare"

Compare = Callable[[str], Awaitable[dict[str, Any]]]
"""The name of an app to the JSON of `deployd compare`."""


class AnalysisCommand:
    """Runs the command of one app. Methods raise DeploydError if it cannot be run."""

    def __init__(
        self,
        app: str,
        transient: Transient,
        commands: Commands,
        tail: ReadLines,
        compare: Compare,
        credentials: Path = SYSTEM.credentials,
    ) -> None:
        """`credentials`: where the service manager puts the credentials of units."""
        self._credentials = credentials
        self._app = app
        self._transient = transient
        self._commands = commands
        self._tail = tail
        self._compare = compare
        self._compared: tuple[int, dict[str, Any]] | None = None
        """The generation that was analysed last in a rollout, and the comparison that it was given."""

    async def run(self, target: Generation, settings: AnalysisSettings) -> Failure | None:
        """Judge the comparison of `target` with the generation that serves alongside it."""
        comparison = await self._compare(self._app)
        self._compared = target.number, comparison
        return await self._judge(target, settings, comparison)

    def has_compared(self, generation: int) -> bool:
        """True if the command has run in the rollout of `generation` since the daemon started."""
        return self._compared is not None and self._compared[0] == generation

    async def run_afterwards(self, target: Generation, settings: AnalysisSettings) -> Failure | None:
        """Judge `target` alone, compared with the last figures of the other generation in the rollout."""
        comparison = await self._compare(self._app)
        live = {item["generation"] for item in comparison["generations"]}
        before = self._compared[1]["generations"] if self._compared is not None else []
        others = [item for item in before if item["generation"] not in live]
        return await self._judge(target, settings, {**comparison, "generations": [*comparison["generations"], *others]})

    async def _judge(
        self, target: Generation, settings: AnalysisSettings, comparison: dict[str, Any]
    ) -> Failure | None:
        unit, began = unit_name.analysis(self._app), time.monotonic()
        command = await self._command(target, settings, json.dumps(comparison))
        try:
            outcome = await self._transient.run(unit, command)
        except UnitExists:
            # Left by a daemon that was killed, or by an attempt that was just stopped: it ends by its own time-outs.
            await self._transient.settle(unit)
            outcome = await self._transient.run(unit, command)
        return None if outcome.succeeded else await self._failed(settings, outcome, began)

    async def _failed(self, settings: AnalysisSettings, outcome: Outcome, began: float) -> Failure:
        words = shlex.join(settings.command)
        return Failure(
            gate=GateName.ANALYSIS,
            reason=f"analysis {words} {outcome}",
            waited_for=f"{words} to exit with status 0",
            waited=round(outcome.seconds, 3),
            exit_status=outcome.exit_status,
            signal=outcome.signal,
            journal=await self._tail(outcome.invocation_id, unit_name.analysis(self._app), began),
        )

    async def _command(self, target: Generation, settings: AnalysisSettings, comparison: str) -> Command:
        command = await self._commands.of_generation(
            target.settings,
            target.number,
            settings.command,
            "analysis",
            release=target.release,
            environment={
                "DEPLOYD_PREVIOUS_GENERATION": "" if target.origin is None else str(target.origin),
                "DEPLOYD_COMPARE": str(self._credentials / unit_name.analysis(self._app) / CREDENTIAL),
            },
            timeout=settings.timeout,
        )
        extra: ServiceSettings = {
            "SetCredential": ("a(say)", [[CREDENTIAL, comparison.encode()]]),
            "SyslogLevel": ("i", NOTICE),
            "LogLevelMax": ("i", NOTICE),
        }
        return replace(command, extra=extra)
