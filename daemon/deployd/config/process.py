"""[process.NAME]: further process types of an app. Each is an app of its own, named APP.NAME, with the same release.

What a table leaves out is inherited from the app: user, group, environment, [service] and the pace of rollouts. How
many instances it has, where they listen, when they are ready and how they stop is its own.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from deployd.config import overlap, trust, values
from deployd.config.source import Problem, Table, one_line
from deployd.errors import InvalidFile
from deployd.model.app import WEB, App, Directives
from deployd.model.app_name import name_problem
from deployd.model.pace import HookSettings, Pace

LARGEST_FILE = 1024 * 1024
_NAME = re.compile(r"[a-z][a-z0-9-]*")

Read = Callable[[str, Table], App]
"""Returns the process type of that name from its table."""


def processes(app: App, top: Table, read: Read, *, only6: bool) -> tuple[App, ...]:
    """Return the process types of `app`, whose file is `top`. Raises InvalidFile.

    `only6` as for `overlap.overlap`.
    """
    found: list[App] = []
    table = top.table("process")
    for key, _ in table.items():
        own = table.table(key)
        if "schedule" in own:
            continue  # it is a timer
        member = read(_member_name(app, table, key), own)
        if clash := overlap.between(member, (app, *found), only6=only6):
            raise own.fail("listen", clash)
        found.append(member)
    _refuse_odd_order(app, found, top)
    return tuple(found)


def order(table: Table, process: str, within: App | None) -> tuple[str, ...]:
    """Return the process types after which the one in `table` is rolled out: by default those of `within` after the
    app itself, unless that comes after them."""
    default: tuple[str, ...] = () if within is None or process in within.after else (WEB,)
    return tuple(dict.fromkeys(table.get("after", values.array(values.string, '["web"]'), default)))


def pace_of_process(pace: Pace) -> Pace:
    """Return the pace of a process type: that of the app, without what an application has only once."""
    return replace(pace, hooks=HookSettings(), analysis=None, pause_after=(), standby=0.0)


def merged(inherited: Directives, own: Directives) -> Directives:
    """Return directives of which those that are `own` replace inherited ones."""
    keys = dict(own)
    return (*(item for item in inherited if item[0] not in keys), *own)


def _member_name(app: App, table: Table, key: str) -> str:
    name = f"{app.name}.{key}"
    if not _NAME.fullmatch(key):
        raise table.fail(
            key,
            "cannot be the name of a process type; use lowercase letters, digits and -, with a letter first",
        )
    if key == WEB:
        raise table.fail(key, f'"{WEB}" is what the keys outside [process] describe; choose another name')
    if problem := name_problem(name):
        raise table.fail(key, f"its units would be called {name}, but {problem}")
    return name


def _refuse_odd_order(app: App, found: Iterable[App], top: Table) -> None:
    """Raise InvalidFile if a process type is rolled out after one that does not exist, or after itself."""
    after = {WEB: app.after, **{item.process: item.after for item in found}}
    tables = {key: top if key == WEB else top.table("process").table(key) for key in after}
    for key, others in after.items():
        for other in others:
            if other not in after:
                allowed = ", ".join(f'"{name}"' for name in after if name != key)
                known = f"allowed are {allowed}" if allowed else "remove it"
                raise tables[key].fail("after", f'there is no process type "{other}"; {known}')
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        cycle = [str(item) for item in reversed(error.args[1])]
        why = f"{' comes after '.join(cycle)}, so that none of them could be the first; remove one"
        raise tables[cycle[0]].fail("after", why) from None


def elsewhere(key: str) -> dict[str, str]:
    """Return where keys belong that are written directly in the table of a process type."""
    gate = dict.fromkeys(("type", "min_ready", "probe", "watchdog", "smoke", "smoke_timeout"), f"[process.{key}.gate]")
    once = dict.fromkeys(("hooks", "on_failure", "deadline", "pause_after", "analysis"), "[rollout] of the app")
    return {**gate, **once, "signal": f"[process.{key}.stop]", "timeout": f"[process.{key}.gate] or its [stop]"}


def refuse_shared_names(app: App, path: Path) -> None:
    """Raise InvalidFile if a process type of `app`, whose file is `path`, has the name of another app, or the app that
    of a process type."""
    for item in app.processes:
        other = path.with_name(f"{item.name}.toml")
        if os.path.lexists(other):
            raise _shared(path, other, f"[process.{item.process}]")
    parts = app.name.split(".")
    for count in range(1, len(parts)):
        other, process = path.with_name(f"{'.'.join(parts[:count])}.toml"), ".".join(parts[count:])
        if process in _process_types(other):
            raise _shared(path, other, f"[process.{process}] there")


def _process_types(path: Path) -> Collection[str]:
    """Return the process types of another app file; none if it cannot be read: that is reported for its own app."""
    with suppress(Problem, OSError, ValueError, RecursionError):
        found = tomllib.loads(trust.read(path, LARGEST_FILE).decode()).get("process", {})
        return found if isinstance(found, dict) else ()
    return ()


def _shared(path: Path, other: Path, table: str) -> InvalidFile:
    return InvalidFile(
        one_line(f"{path}: its units would have the names of those of {other}, because of {table}; rename one of them")
    )
