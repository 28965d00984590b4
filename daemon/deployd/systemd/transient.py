"""Commands of an app as transient units: hooks, and probes that are programs.

systemd runs them (StartTransientUnit), not the daemon: its own sandbox must not be theirs, they run with what systemd
would start an instance with (`execution`), and a daemon that dies leaves a unit that can be found by its name.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.app import App
from deployd.systemd import observe
from deployd.systemd.manager import SERVICE, UNIT, Systemd, UnitExists
from deployd.systemd.settings import ServiceSettings

log = logging.getLogger(__name__)

JOB_MARGIN = 30.0
"""Seconds beyond the command's own time-outs that systemd gets to end its job."""

CRITICAL = 2
"""LOG_CRIT: of a unit with LogLevelMax= at that, nothing reaches the journal."""

_OVER = ("inactive", "failed")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and as whom. Times in seconds."""

    argv: tuple[str, ...]
    """The program as an absolute path. Nothing in it is expanded."""
    description: str
    directory: str
    timeout: float
    """After so long it gets SIGTERM, and `stop_timeout` later SIGKILL."""
    stop_timeout: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    """For everybody to see, as properties of units are: no secrets."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Journal fields of what it writes."""
    identifier: str = ""
    quiet: bool = False
    """Nothing about it goes to the journal: neither what it writes nor what systemd has to say."""
    settings: ServiceSettings = field(default_factory=dict)
    """What it is run with otherwise: that of the app's instances."""
    extra: ServiceSettings = field(default_factory=dict)
    """More properties, which win over all others; lists are added to those of `settings`."""

    @classmethod
    def of(
        cls,
        app: App,
        argv: tuple[str, ...],
        description: str,
        *,
        release: str,
        generation: int,
        settings: ServiceSettings,
        environment: Mapping[str, str],
        timeout: float,
        quiet: bool = False,
    ) -> Command:
        """A command of `app` in `release`, with `settings` and log fields as its instances have them.

        A relative program is taken from the release.
        """
        return cls(
            argv=(posixpath.normpath(posixpath.join(release, argv[0])), *argv[1:]),
            description=description,
            directory=release,
            timeout=timeout,
            stop_timeout=app.stop.timeout,
            environment=environment,
            fields={"DEPLOYD_APP": app.name, "DEPLOYD_GENERATION": str(generation)},
            identifier=app.name,
            quiet=quiet,
            settings=settings,
        )

    def properties(self) -> dict[str, tuple[str, Any]]:
        """As StartTransientUnit takes them (org.freedesktop.systemd1(5))."""
        found: dict[str, tuple[str, Any]] = {
            **self.settings,
            "Description": ("s", self.description),
            # Its start job ends when the command has.
            "Type": ("s", "oneshot"),
            # Not ExecStartEx with "no-env-expand": systemd 252 does not understand what it itself writes for it.
            "ExecStart": ("a(sasb)", [[self.argv[0], [word.replace("$", "$$") for word in self.argv], False]]),
            "WorkingDirectory": ("s", self.directory),
            "TimeoutStartUSec": ("t", _microseconds(self.timeout)),
            "TimeoutStopUSec": ("t", _microseconds(self.stop_timeout)),
            "KillMode": ("s", "control-group"),
            # No target wants it, and what it does may not stand being done by halves.
            "IgnoreOnIsolate": ("b", True),
            # Ours until we have read how it ended; then, or when we die, nothing of it stays.
            "AddRef": ("b", True),
            "CollectMode": ("s", "inactive-or-failed"),
            # The directory is the instances', which go on when the command has ended.
            "RuntimeDirectoryPreserve": ("s", "yes"),
            "LogExtraFields": ("aay", [f"{key}={value}".encode() for key, value in self.fields.items()]),
        }
        if self.identifier:
            found["SyslogIdentifier"] = "s", self.identifier
        if self.quiet:
            found["LogLevelMax"] = "i", CRITICAL
        ours = [f"{key}={value}" for key, value in self.environment.items()]
        theirs = self.settings.get("Environment", ("as", []))[1]
        # systemd refuses a variable that stands there twice.
        kept = [item for item in theirs if item.partition("=")[0] not in self.environment]
        found["Environment"] = "as", [*kept, *ours]
        for key, (signature, value) in self.extra.items():
            before = self.settings[key][1] if key in self.settings and isinstance(value, list) else []
            found[key] = signature, [*before, *value] if isinstance(value, list) else value
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    exit_status: int | None
    """None if it did not exit by itself."""
    signal: str | None
    timed_out: bool
    invocation_id: str
    seconds: float
    result: str = "success"
    """The unit's Result=: ``resources`` when systemd could not even start it."""

    @property
    def succeeded(self) -> bool:
        return self.exit_status == 0 and self.result == "success"

    def __str__(self) -> str:
        """The end of a sentence that begins with the command."""
        if self.timed_out:
            return f"did not end within {self.seconds:g} s"
        if self.result == "oom-kill":
            return "ran out of memory"
        if self.exit_status in _NOT_RUN:
            return f"was not run: {_NOT_RUN[self.exit_status]} (status {self.exit_status})"
        if self.exit_status is not None:
            return f"exited with status {self.exit_status}"
        if self.signal:
            return f"was killed by {self.signal}"
        return f"could not be started ({self.result}): systemd lacked a file or resources, see its journal"


_NOT_RUN = {
    200: "its working directory cannot be entered",
    203: "it cannot be executed",
    216: "its group is not known",
    217: "its user is not known",
    243: "its credentials cannot be set up",
}
"""Exit statuses of systemd itself, before the program runs (systemd.exec(5))."""


class Transient:
    """Runs commands; any number at a time. Errors are SystemdError."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        # Of this process alone: what a daemon before us has left may still be there under its own name.
        self._labels = (f"{os.getpid():x}-{count:x}" for count in itertools.count(1))

    async def run(self, unit: str, command: Command) -> Outcome:
        """Run `command` as `unit`, to its end. Cancelled, it stops the unit. Raises UnitExists and SystemdError."""
        began = time.monotonic()
        try:
            job = await self._systemd.start_transient(unit, command.properties())
        except UnitExists:
            raise
        except (SystemdError, asyncio.CancelledError):
            # The reply is what is missing, maybe; the unit may have been started.
            await self._abandon(unit)
            raise
        try:
            seen = await self._end(unit, job, command.timeout + command.stop_timeout + JOB_MARGIN)
        except (SystemdError, asyncio.CancelledError):
            await self._abandon(unit)
            raise
        await self._systemd.release(unit)
        return _outcome(seen, time.monotonic() - began, command.timeout)

    async def running(self, pattern: str) -> list[str]:
        """The units that match and have not ended."""
        units = await self._systemd.list_units(pattern)
        return [unit for unit in units if (await self._state(unit)) not in _OVER]

    async def settle(self, unit: str) -> None:
        """Wait until a unit that somebody else began has ended, by its own time-outs. Raises SystemdError."""
        while (job := await self._systemd.job(unit)) is not None:
            await job

    async def ask(self, app: str, number: int, command: Command, expect: int) -> str:
        """Run a probe of instance `number`; "" if it exits with the status `expect`, else what it does instead, as the
        end of a sentence."""
        unit = unit_name.probe_command(app, number, next(self._labels))
        outcome = await self.run(unit, command)
        good = outcome.exit_status == expect and not outcome.timed_out
        return "" if good else str(outcome)

    async def _end(self, unit: str, job: asyncio.Future[str] | None, within: float) -> dict[str, Any]:
        """Wait for the end of the unit's jobs, and read what came of it."""
        try:
            async with asyncio.timeout(within):
                while job is not None:
                    await job
                    # A stop by hand takes the start's place, and after a daemon-reload we know nothing.
                    job = await self._systemd.job(unit)
        except TimeoutError:
            if await self._state(unit) not in _OVER:
                await self._abandon(unit)
                return {"Result": "timeout"}
        names = ("Result", "ExecMainCode", "ExecMainStatus")
        seen = await self._systemd.read(unit, SERVICE, names)
        return seen | await self._systemd.read(unit, UNIT, ["InvocationID"])

    async def _state(self, unit: str) -> str:
        return str((await self._systemd.read(unit, UNIT, ["ActiveState"]))["ActiveState"])

    async def _abandon(self, unit: str) -> None:
        """Have it stopped, without waiting for that."""
        try:
            await self._systemd.stop(unit)
        except SystemdError as error:
            log.debug("%s: %s, ignoring", unit, error)  # gone, or systemd does not answer
        await self._systemd.release(unit)


def _outcome(seen: Mapping[str, Any], seconds: float, timeout: float) -> Outcome:
    result = str(seen.get("Result", ""))
    timed_out = result == "timeout"
    return Outcome(
        exit_status=observe.exit_status(seen),
        signal=observe.killed_by(seen),
        timed_out=timed_out,
        invocation_id=observe.invocation_id(seen),
        seconds=timeout if timed_out else seconds,
        result=result,
    )


def _microseconds(seconds: float) -> int:
    return max(1, round(seconds * 1e6))
