"""deployd run: commands of users in a release that is live, or of another generation, as transient units."""

from __future__ import annotations

import itertools
import logging
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from deployd import config
from deployd.apps.caller import Caller
from deployd.apps.caller_files import CallerFiles, terminal_of
from deployd.apps.caller_presence import until_gone
from deployd.bus import Bus
from deployd.documents import Json
from deployd.errors import AccessDenied, InvalidRequest, Refused
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
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
        terminal: str = "",
    ) -> Json:
        """Run a command to its end, with these descriptors of the caller; return its result.

        With a `terminal`, the value of TERM, standard input is a pseudo-terminal that controls the command. Raises
        InvalidRequest, Refused, AccessDenied and SystemdError.
        """
        if not argv or not argv[0]:
            raise InvalidRequest("the command is empty")
        generation = self._generation(app, release)
        if not caller.trusted and generation.settings.user in ROOTS:
            raise AccessDenied(f"{app} runs as root, so only root may run commands in it")
        unit = unit_name.run(app, next(self._labels))
        words = config.one_line(shlex.join(argv))
        log.info("%s: user %d runs %s in generation %d as %s", app, caller.uid, words, generation.number, unit)
        built = await self._commands.of_generation(
            generation.settings,
            generation.number,
            found_by_shell(argv),
            f"command of user {caller.uid}",
            release=generation.release,
            environment={"TERM": terminal} if terminal else {},
            timeout=math.inf,
        )
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


def found_by_shell(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command such that a name without a slash is looked up in the PATH of the app; paths are relative to
    the release. Pure."""
    if "/" in argv[0]:
        return tuple(argv)
    return ("/bin/sh", "-c", 'exec "$@"', "sh", *argv)
