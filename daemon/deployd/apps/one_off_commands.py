"""deployd run: commands of users in a release that is live, or of another generation, as transient units."""

from __future__ import annotations

import itertools
import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from deployd import config
from deployd.apps.caller import Caller
from deployd.apps.caller_files import CallerFiles, terminal_of
from deployd.apps.caller_presence import until_gone
from deployd.apps.run_settings import run_settings
from deployd.bus import Bus
from deployd.documents import Json
from deployd.errors import AccessDenied, Refused
from deployd.instances.commands import Commands
from deployd.model import unit_name
from deployd.model.generation import Generation
from deployd.rollout.generations import Generations
from deployd.systemd.transient import Transient

log = logging.getLogger(__name__)

ROOTS = (None, "root", "0")
"""Values of `user` with which an app runs as root."""


class OneOffCommands:
    """Of all apps. A command is stopped when its caller leaves the bus."""

    def __init__(self, bus: Bus, generations: Generations, transient: Transient, commands: Commands) -> None:
        self._bus = bus
        self._files = CallerFiles(bus)
        self._generations = generations
        self._transient = transient
        self._commands = commands
        self._labels = (f"{os.getpid():x}-{count:x}" for count in itertools.count(1))

    async def run(
        self,
        app: str,
        argv: Sequence[str],
        caller: Caller,
        *,
        release: str = "",
        process: str = "",
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
        terminal: str = "",
    ) -> Json:
        """Run a command to its end, with these descriptors of the caller; return its result.

        It has the settings of a `process`, and is the command of that if `argv` is empty and the process a timer. With
        a `terminal`, the value of TERM, standard input is a pseudo-terminal that controls the command. Raises
        InvalidRequest, Refused, AccessDenied and SystemdError.
        """
        generation = self._generation(app, release)
        chosen = run_settings(generation, process, argv)
        if not caller.trusted and chosen.settings.user in ROOTS:
            raise AccessDenied(f"{process or app} runs as root, so only root may run commands in it")
        if chosen.timer:
            await self._refuse_second(app, chosen.timer)
        unit = unit_name.run(app, next(self._labels))
        words = config.one_line(shlex.join(argv)) or f"timer {process}"
        log.info("%s: user %d runs %s in generation %d as %s", app, caller.uid, words, generation.number, unit)
        built = await self._commands.of_generation(
            chosen.settings,
            generation.number,
            chosen.argv,
            f"command of user {caller.uid}",
            release=generation.release,
            environment={"TERM": terminal} if terminal else {},
            timeout=chosen.timeout,
            file=chosen.environment,
        )
        if chosen.timer:
            # A run for which the time comes meanwhile waits for the end of this one.
            built = replace(built, extra={"Before": ("as", [unit_name.timer_service(app, chosen.timer)])})
        async with self._files.opened(caller, (stdin, stdout, stderr)) as (first, second, third):
            tty = terminal_of(first) if terminal else ""
            command = replace(built, standard=None if tty else (first, second, third), terminal=tty)
            async with until_gone(self._bus, caller):
                outcome = await self._transient.run(unit, command)
        log.info("%s: %s %s", app, unit, outcome)
        return {
            "app": app,
            "unit": unit,
            "exit_status": outcome.exit_status,
            "signal": outcome.signal,
            "result": outcome.result,
        }

    async def _refuse_second(self, app: str, timer: str) -> None:
        service = unit_name.timer_service(app, timer)
        if await self._transient.running(service):
            raise Refused(f"a run of {timer} is under way as {service}; wait for its end, or stop it")

    def _generation(self, app: str, release: str) -> Generation:
        """Return the live generation, or the newest one of a release."""
        if not release:
            return self._generations.require_current(app)
        found = self._generations.newest_of(app, release)
        if found is None:
            raise Refused(
                f"no generation of {app} has the release {config.one_line(release)}; see deployd releases {app}"
            )
        return found
