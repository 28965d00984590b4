"""Commands of generation 7 of demo, with transient units that have the given outcomes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deployd.instances.commands import Commands
from deployd.state.pins import Pins
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command, Outcome


class CommandsOfDemo:
    """What runs as `unit`. Without outcomes left, a command runs until it is stopped."""

    def __init__(self, unit: str, *outcomes: Outcome | Exception) -> None:
        self.unit = unit
        self.outcomes = list(outcomes)
        self.ran: list[Command] = []
        self.settled: list[str] = []
        self.stopped = 0
        self.finished = 0
        self.commands = Commands(self, Pins(Path("/var/lib/deployd")))  # type: ignore[arg-type]

    async def of_unit(self, app: str, text: str) -> ServiceSettings:
        assert "/var/lib/deployd/apps/demo/generations/7/environment" in text
        return {"User": ("s", "www-data")}

    async def settle(self, unit: str) -> None:
        self.settled.append(unit)

    async def run(self, unit: str, command: Command) -> Outcome:
        assert unit == self.unit
        self.ran.append(command)
        if not self.outcomes:
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped += 1
        outcome = self.outcomes.pop(0)
        self.finished += 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
