"""With which settings `deployd run` runs a command: those of the app, of a process type or of a timer. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deployd.config import one_line
from deployd.errors import InvalidRequest
from deployd.model.app import WEB, App
from deployd.model.generation import Generation
from deployd.units.text import ENVIRONMENT, timer_environment


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a command runs with."""

    settings: App
    environment: str = ENVIRONMENT
    """The file of the generation with its environment."""
    timer: str = ""
    """The timer whose own command it is; "" for any other command."""
    argv: tuple[str, ...] = ()
    timeout: float = math.inf
    """Seconds that the command may take."""


def run_settings(of: Generation, process: str, command: Sequence[str]) -> RunSettings:
    """Return the settings for a command of the generation. Without a `command` it is that of the timer `process`.

    Raises InvalidRequest for a process that the generation does not have, and if there is no command.
    """
    app = of.settings
    if command and not command[0]:
        raise InvalidRequest("the command is empty; name it after --")
    timer = next((item for item in app.timers if item.name == process), None)
    if timer is not None:
        own, environment = app.of_timer(timer), timer_environment(timer)
        if command:
            return RunSettings(own, environment, argv=found_by_shell(command))
        limit = math.inf if timer.timeout is None else timer.timeout
        return RunSettings(own, environment, timer.name, timer.exec, limit)
    types = {"": app, WEB: app, **{item.process: item for item in app.processes}}
    if process not in types:
        known = ", ".join([*filter(None, types), *(item.name for item in app.timers)])
        raise InvalidRequest(
            f'generation {of.number} of {of.app} has no process "{one_line(process)}"; there are: {known}'
        )
    if not command:
        hint = "only a timer has one that can be run" if process else "name it after --"
        raise InvalidRequest(f"the command is empty; {hint}")
    return RunSettings(types[process], argv=found_by_shell(command))


def found_by_shell(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command such that a name without a slash is looked up in the PATH of the app; paths are relative to
    the release."""
    if "/" in argv[0]:
        return tuple(argv)
    return ("/bin/sh", "-c", 'exec "$@"', "sh", *argv)
