"""The units of timers. Unlike those of instances they name their generation, that which is live.

systemd reads a unit as a whole, so a run has release, command and environment of one generation, whenever that changes.
A symlink that leads to the live generation could move while systemd opens one file after another.
"""

from __future__ import annotations

import re

from deployd.model import unit_name
from deployd.model.app import App, Directives
from deployd.model.credential import KEYS
from deployd.model.directive import Section
from deployd.model.scope import SYSTEM, Scope
from deployd.model.timer import Timer
from deployd.units.text import escape
from deployd.units.text.generation import credential, environment_files, timer_environment, timer_script
from deployd.units.text.hardening import hardening
from deployd.units.text.templates import Unit, header, span, templates


def timer_units(app: App, number: int, state_dir: str, scope: Scope = SYSTEM) -> tuple[Unit, ...]:
    """Return the units of the timers of `app`, whose commands run in generation `number`."""
    return tuple(unit for timer in app.timers for unit in _units(app, timer, number, state_dir, scope))


def _units(app: App, timer: Timer, number: int, state_dir: str, scope: Scope) -> tuple[Unit, Unit]:
    directory = f"{state_dir}/apps/{app.name}"
    generation = f"{directory}/generations/{number}"
    own, escaped = app.of_timer(timer), escape.specifier(generation)
    values = {
        "header": header(app, scope),
        "app": own,
        "app_unit": unit_name.app_unit(app.name),
        "timer": timer,
        "scope": scope,
        "generation": generation,
        "number": number,
        "run": f"{directory}/runs/{timer.name}",
        "script": timer_script(timer),
        "environment_files": environment_files(app, escaped, timer_environment(timer)),
        "timeout": "infinity" if timer.timeout is None else span(timer.timeout),
        "stop_timeout": span(timer.stop_timeout),
        "delay": span(timer.randomized_delay),
        "service": _service(app, own, timer, escaped, scope),
    }
    return (
        Unit(unit_name.timer_service(app.name, timer.name), templates().get_template("timer-run.j2").render(values)),
        Unit(unit_name.timer(app.name, timer.name), templates().get_template("timer.j2").render(values)),
    )


def _service(app: App, own: App, timer: Timer, generation: str, scope: Scope) -> list[tuple[str, str]]:
    """Return the directives of the service: the restrictions of instances, then those of the app file."""
    set_there = {key for key, _ in own.service}
    # systemd would remove the directory at the end of a run, and the instances use it as well.
    shared = [] if "RuntimeDirectory" not in set_there else [("RuntimeDirectoryPreserve", "yes")]
    defaults = [*shared, ("SyslogIdentifier", f"{app.name}:{timer.name}"), *hardening(own, user=scope.is_user)]
    lines = [(key, value) for key, value in defaults if key not in set_there]
    lines += [(key, escape.directive(value, Section.SERVICE, key)) for key, value in _flat(own.service)]
    lines = [(key, credential(app, value, generation) if key in KEYS else value) for key, value in lines]
    return [(key, _named(value, app.name, timer.name)) for key, value in lines]


def _flat(directives: Directives) -> list[tuple[str, str]]:
    return [(key, value) for key, values in directives for value in values]


def _named(value: str, app: str, timer: str) -> str:
    """Return a value with the specifiers of an instance's unit as they are meant here: %i is the name of the timer, %p
    that of the app."""
    names = {"i": timer, "I": timer, "p": app, "j": app.rpartition("-")[2]}
    return re.sub(r"%(.)", lambda found: names.get(found[1], found[0]), value)
