"""[process.NAME] with a `schedule`: a command of the live release that systemd runs at certain times.

User, group and environment are those of the app where the table leaves them out, and so are the directives of [service]
about security, limits and paths. How instances are started, supervised and stopped says nothing about a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from deployd.config import values
from deployd.config.directives import directives
from deployd.config.source import Problem, Table, kind
from deployd.config.user_mode import refuse_of_root
from deployd.model import unit_name
from deployd.model.app import WEB, App, Directives, StopSettings
from deployd.model.directive import Section
from deployd.model.timer import Timer


@dataclass(frozen=True, slots=True)
class Readers:
    """Functions that read what timers have as apps do."""

    is_calendar: Callable[[str], bool]
    """True for a calendar expression."""
    environment: Callable[[Table, Iterable[tuple[str, str]]], tuple[tuple[str, str], ...]]
    stop: Callable[[Table], StopSettings]
    is_user: bool
    """True if the app is one of a user, see `user_mode`."""


LONGEST_RUN = 7 * values.DAY
MOST_TIMES = 50

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_EXAMPLES = '"daily", "Mon..Fri 06:30" or "*:0/15"'

_OF_INSTANCES = frozenset(
    {
        *("ExecReload", "ExecStartPost", "ExecStartPre", "ExecStop", "ExecStopPost", "FileDescriptorStoreMax"),
        *("FileDescriptorStorePreserve", "KillMode", "NonBlocking", "NotifyAccess", "OpenFile", "PermissionsStartOnly"),
        *("Restart", "RestartForceExitStatus", "RestartKillSignal", "RestartSec", "SuccessExitStatus"),
        *("SyslogIdentifier", "TimeoutStartFailureMode", "WatchdogSec", "WatchdogSignal"),
    }
)
"""Directives of [service] that a timer does not inherit."""
_REFUSED = {
    **dict.fromkeys(("TimeoutStartSec", "TimeoutSec", "RuntimeMaxSec"), "use timeout of the timer"),
    **dict.fromkeys(("KillSignal", "TimeoutStopSec"), "use signal and timeout of its [stop]"),
    **dict.fromkeys(
        ("Restart", "RestartForceExitStatus", "RestartSec"),
        "a run that has failed is not repeated before its next time",
    ),
    **dict.fromkeys(
        ("FileDescriptorStoreMax", "FileDescriptorStorePreserve", "NonBlocking", "NotifyAccess", "WatchdogSec"),
        "a timer runs a command that ends, not a server",
    ),
}
"""Directives that [process.NAME.service] must not have, and why."""


def timers(app: App, table: Table, readers: Readers) -> tuple[Timer, ...]:
    """Return the timers of `app`, whose table [process] is `table`. Raises InvalidFile."""
    tables = [(name, own) for name, _ in table.items() if "schedule" in (own := table.table(name))]
    for name, _ in tables:
        _require_name(table, name)
    return tuple(_timer(app, name, own, readers) for name, own in tables)


def _timer(app: App, name: str, own: Table, readers: Readers) -> Timer:
    if readers.is_user:
        refuse_of_root(own)
    variables = readers.environment(own.table("environment"), app.environment)
    stop_table = own.table("stop")
    for key in ("quiet", "quiet_for"):
        if key in stop_table:
            raise stop_table.fail(key, "is for workers, which take one job after another; a run ends with its command")
    stop = readers.stop(stop_table)
    timer = Timer(
        name=name,
        schedule=own.require("schedule", _schedule(readers.is_calendar), 'schedule = "daily"'),
        exec=own.require("exec", values.argv, 'exec = ["bin/nightly"]'),
        persistent=own.get("persistent", values.boolean, False),
        randomized_delay=own.get("randomized_delay", values.duration(0, values.DAY), 0.0),
        timeout=own.get("timeout", values.duration(1, LONGEST_RUN), None),
        user=own.get("user", values.account, app.user),
        group=own.get("group", values.account, None if "user" in own else app.group),
        environment=variables,
        stop_signal=stop.signal,
        stop_timeout=stop.timeout,
        service=_service(app, own.table("service"), dict(variables)),
    )
    own.finish({"signal": f"[process.{name}.stop]", **dict.fromkeys(("instances", "listen", "gate"), "a process type")})
    return timer


def _require_name(table: Table, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise table.fail(
            name, "cannot be the name of a timer; use up to 63 lowercase letters, digits and -, with a letter first"
        )
    if name == WEB:
        raise table.fail(name, "is what the keys outside [process] describe; choose another name")
    if unit_name.is_taken(name):
        raise table.fail(name, "is the name of another unit that deployd makes for the app; choose another name")


def _schedule(is_calendar: Callable[[str], bool]) -> Callable[[Any], tuple[str, ...]]:
    def check(raw: Any) -> tuple[str, ...]:
        given = raw if isinstance(raw, list) else [raw]
        if not 1 <= len(given) <= MOST_TIMES:
            raise Problem(f"must have 1 to {MOST_TIMES} calendar expressions; write one such as {_EXAMPLES}")
        for item in given:
            if not isinstance(item, str):
                raise Problem(f"must be a string or an array of strings, not {kind(item)}; write {_EXAMPLES}")
        return tuple(_expression(item, is_calendar) for item in given)

    return check


def _expression(raw: str, is_calendar: Callable[[str], bool]) -> str:
    text = values.plain(raw).strip()
    # An empty OnCalendar= would reset the list; nothing of the language has one of the others.
    if not text or not re.fullmatch(r"[A-Za-z0-9 *:.,/~@_+-]{1,200}", text) or not is_calendar(text):
        raise Problem(f'"{text}" is no calendar expression (systemd.time(7)); write one such as {_EXAMPLES}')
    return text


def _service(app: App, table: Table, variables: dict[str, str]) -> Directives:
    """Return the directives of the timer's service: its own ones, and what it inherits of those of the app."""
    for key, reason in _REFUSED.items():
        if key in table:
            raise table.fail(key, f"is not possible for a timer: {reason}")
    own = directives(table, Section.SERVICE, None if app.environment_files else variables)
    keys = dict(own)
    return (*(item for item in app.service if item[0] not in _OF_INSTANCES and item[0] not in keys), *own)
