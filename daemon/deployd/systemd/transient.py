"""Commands of an app as transient units: hooks, and probes that are programs.

systemd runs them (StartTransientUnit), not the daemon: its own sandbox must not be theirs, they run with what systemd
would start an instance with (`execution`), and a daemon that dies leaves a unit that can be found by its name.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.gate import Answer
from deployd.systemd import observe
from deployd.systemd.exit_status import not_run
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE, UNIT, UnitExists
from deployd.systemd.settings import ServiceSettings

log = logging.getLogger(__name__)

JOB_MARGIN = 30.0
"""Seconds beyond the command's time-outs within which systemd must end its job."""

CRITICAL = 2
"""LOG_CRIT. With this LogLevelMax= systemd writes nothing about a unit to the journal."""

INFINITY = 2**64 - 1
"""USEC_INFINITY of systemd."""

_OVER = ("inactive", "failed")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the settings with which it runs. Times in seconds."""

    argv: tuple[str, ...]
    """The program, as an absolute path, and its arguments. Nothing in them is expanded."""
    description: str
    directory: str
    timeout: float
    """The time after which it gets SIGTERM, and `stop_timeout` later SIGKILL; infinity for none."""
    stop_timeout: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    """Readable by everyone, like all properties of units: no secrets."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields of its journal entries."""
    identifier: str = ""
    stdin: str = ""
    """The path of a file that systemd opens, as root, for its standard input; "" for none."""
    standard: tuple[int, int, int] | None = None
    """Descriptors of this process to pass as standard input, output and error; without them, the journal."""
    terminal: str = ""
    """The path of a terminal that is to control the command, and to be all of these; "" for none."""
    quiet: bool = False
    """Write nothing to the journal, neither its output nor systemd's messages about it."""
    settings: ServiceSettings = field(default_factory=dict)
    """The settings of the app's instances."""
    extra: ServiceSettings = field(default_factory=dict)
    """Properties that override all others; lists are added to those of `settings`."""

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
        """Return a command of `app` in `release`, with the `settings` and log fields of its instances.

        A relative path of a program is relative to the release.
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
        """Return the properties for StartTransientUnit (org.freedesktop.systemd1(5))."""
        found: dict[str, tuple[str, Any]] = {
            **self.settings,
            "Description": ("s", self.description),
            # Its start job ends with the command.
            "Type": ("s", "oneshot"),
            # Not ExecStartEx with "no-env-expand": systemd 252 cannot read the unit file that it writes for it.
            "ExecStart": ("a(sasb)", [[self.argv[0], [word.replace("$", "$$") for word in self.argv], False]]),
            "WorkingDirectory": ("s", self.directory),
            "TimeoutStartUSec": ("t", _microseconds(self.timeout)),
            "TimeoutStopUSec": ("t", _microseconds(self.stop_timeout)),
            "KillMode": ("s", "control-group"),
            # No target wants it, and it must not be interrupted by `systemctl isolate`.
            "IgnoreOnIsolate": ("b", True),
            # It stays loaded until deployd has read its result or has ended.
            "AddRef": ("b", True),
            "CollectMode": ("s", "inactive-or-failed"),
            # The instances use the directory too, and continue when the command has ended.
            "RuntimeDirectoryPreserve": ("s", "yes"),
            "LogExtraFields": ("aay", [f"{key}={value}".encode() for key, value in self.fields.items()]),
        }
        if self.identifier:
            found["SyslogIdentifier"] = "s", self.identifier
        found |= self._standard()
        if self.quiet:
            found["LogLevelMax"] = "i", CRITICAL
            # journald forgets LogLevelMax= with the unit, and may read the output later than that.
            found["StandardOutput"] = found["StandardError"] = "s", "null"
        ours = [f"{key}={value}" for key, value in self.environment.items()]
        theirs = self.settings.get("Environment", ("as", []))[1]
        # systemd refuses a variable that is set twice.
        kept = [item for item in theirs if item.partition("=")[0] not in self.environment]
        found["Environment"] = "as", [*kept, *ours]
        for key, (signature, value) in self.extra.items():
            before = self.settings[key][1] if key in self.settings and isinstance(value, list) else []
            found[key] = signature, [*before, *value] if isinstance(value, list) else value
        return found

    def _standard(self) -> dict[str, tuple[str, Any]]:
        """Return the properties of standard input, output and error that differ from those of a service."""
        names = ("StandardInput", "StandardOutput", "StandardError")
        if self.terminal:
            return {"TTYPath": ("s", self.terminal), **dict.fromkeys(names, ("s", "tty"))}
        if self.standard is not None:
            return {f"{name}FileDescriptor": ("h", index) for index, name in enumerate(names)}
        return {"StandardInputFile": ("s", self.stdin)} if self.stdin else {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command."""

    exit_status: int | None
    """None if it was killed or not run."""
    signal: str | None
    timed_out: bool
    invocation_id: str
    seconds: float
    result: str = "success"
    """The unit's Result=: ``resources`` if systemd could not start it."""

    @property
    def succeeded(self) -> bool:
        """True if the command exited with status 0."""
        return self.exit_status == 0 and self.result == "success"

    @property
    def is_definite(self) -> bool:
        """True if the command has exited, and not to say that it should be tried later."""
        return self.exit_status is not None and not self.timed_out and self.exit_status != os.EX_TEMPFAIL

    def __str__(self) -> str:
        """Return the end of a sentence that begins with the command."""
        if self.timed_out:
            return f"did not end within {self.seconds:g} s"
        if self.result == "oom-kill":
            return "ran out of memory"
        if step := not_run(self.exit_status):
            return f"was not run: {step} (status {self.exit_status})"
        if self.exit_status is not None:
            return f"exited with status {self.exit_status}"
        if self.signal:
            return f"was killed by {self.signal}"
        return f"could not be started ({self.result}): systemd lacked a file or resources, see its journal"


class Transient:
    """Runs commands as transient units, any number at the same time. Errors are SystemdError."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        # With the PID, because units of an earlier daemon may still exist.
        self._labels = (f"{os.getpid():x}-{count:x}" for count in itertools.count(1))

    async def run(self, unit: str, command: Command) -> Outcome:
        """Run `command` as `unit`, and return its result. If cancelled, stop the unit.

        Raises UnitExists and SystemdError.
        """
        began = time.monotonic()
        try:
            job = await self._systemd.start_transient(unit, command.properties(), command.standard or ())
        except UnitExists:
            raise
        except (SystemdError, asyncio.CancelledError):
            # The unit may have been started nevertheless, if only the reply is missing.
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
        """Return the units that match `pattern` and have not ended."""
        units = await self._systemd.list_units(pattern)
        return [unit for unit in units if (await self._state(unit)) not in _OVER]

    async def settle(self, unit: str) -> None:
        """Wait for the end of a unit that an earlier daemon started, which its own time-outs limit."""
        while (job := await self._systemd.job(unit)) is not None:
            await job

    async def ask(self, app: str, number: int, command: Command, expect: int) -> Answer:
        """Run a probe of instance `number`, which should exit with the status `expect`. A problem is the end of a
        sentence."""
        unit = unit_name.probe_command(app, number, next(self._labels))
        outcome = await self.run(unit, command)
        good = outcome.exit_status == expect and not outcome.timed_out
        return Answer() if good else Answer(str(outcome), wrong=outcome.is_definite)

    async def _end(self, unit: str, job: asyncio.Future[str] | None, within: float) -> dict[str, Any]:
        """Wait `within` seconds for the end of the unit's jobs, and read the properties of its result."""
        try:
            async with asyncio.timeout(within if math.isfinite(within) else None):
                while job is not None:
                    await job
                    # `systemctl stop` replaces the start job, and after a daemon-reexec the result is unknown.
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
        """Queue a stop job and release the unit, without waiting for the end of the job."""
        try:
            await self._systemd.stop(unit)
        except SystemdError as error:
            log.debug("%s: %s, ignoring", unit, error)  # the unit has ended, or systemd does not answer
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
    return max(1, round(seconds * 1e6)) if math.isfinite(seconds) else INFINITY
