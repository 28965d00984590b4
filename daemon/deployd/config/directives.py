"""The [service] and [socket] tables: directives of systemd that deployd passes on.

A value is data. units/text escapes what systemd would expand in it (``%i``, and ``$HOME`` in commands); this module
refuses what could end its line: control characters, and a backslash at the end. It also refuses directives that deployd
sets itself and those that would break an invariant. Unknown directives are left to ``systemd-analyze verify``, which
knows the installed version of systemd.
"""

from __future__ import annotations

import re
from typing import Any

from deployd.config import values
from deployd.config.source import Problem, Table, kind
from deployd.model.app import Directives

_ONE_SOCKET = "deployd passes the app's socket to every instance; list addresses in listen"
_ADDRESSES = "list addresses in listen"
_COUNTING = "a start limit that is hit makes systemd close the listening socket; deployd counts starts itself"
_FILES = "the release is reached through a path of the host's file system; leave it out"

SERVICE = {
    "Type": "the gate depends on it; use [gate] type",
    "BusName": "the gate is READY=1 or a probe; use [gate] type",
    "PIDFile": "systemd knows the main process, because it starts it directly; leave it out",
    "RemainAfterExit": "an instance whose program has ended must not count as ready; leave it out",
    "ExecStart": "use exec",
    "WorkingDirectory": "the program runs in the release; use release",
    "RootDirectory": _FILES,
    "RootImage": _FILES,
    "RootDirectoryStartOnly": _FILES,
    "Environment": "use environment",
    "EnvironmentFile": "use environment_files",
    "Sockets": _ONE_SOCKET,
    "User": "use user",
    "Group": "use group",
    "KillSignal": "use [stop] signal",
    "TimeoutStopSec": "use [stop] timeout",
    "TimeoutStartSec": "use [gate] timeout",
    "TimeoutSec": "use [gate] timeout and [stop] timeout",
    "StartLimitInterval": _COUNTING,
    "StartLimitBurst": _COUNTING,
    "StartLimitAction": _COUNTING,
}
SOCKET = {
    "Service": "connections start the whole app; leave it out",
    "Accept": "instances accept connections themselves; leave it out",
    "TriggerLimitIntervalSec": "a trigger limit that is hit makes systemd close the listening socket; leave it out",
    "TriggerLimitBurst": "a trigger limit that is hit makes systemd close the listening socket; leave it out",
}


def directives(table: Table, own: dict[str, str]) -> Directives:
    """Return the directives of the table in the order of the file, each with its values."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for key, raw in table.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", key):
            raise table.fail(key, "is not a directive; write its name as in the man page, as in MemoryMax")
        if key in own:
            raise table.fail(key, f"is set by deployd: {own[key]}")
        if own is SOCKET and key.startswith("Listen"):
            raise table.fail(key, f"is set by deployd: {_ADDRESSES}")
        try:
            found.append((key, _values(raw)))
        except Problem as problem:
            raise table.fail(key, str(problem)) from None
    return tuple(found)


def _values(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, list):
        if not raw:
            raise Problem('must not be an empty array; write "" to reset a list, or leave the key out')
        return tuple(value(item) for item in raw)
    return (value(raw),)


def value(raw: Any) -> str:
    """Convert one value to its text in the unit file."""
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    if isinstance(raw, int):
        return str(raw)
    if not isinstance(raw, str):
        raise Problem(f'must be a string, integer, boolean or an array of these, not {kind(raw)}; write it as "text"')
    text = values.plain(raw).strip()
    if text.endswith("\\"):
        raise Problem("must not end in a backslash, which would join the next line to it; remove it")
    return text
