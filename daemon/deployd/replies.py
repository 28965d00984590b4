"""Answers of the daemon: error replies as exceptions of deployd.errors, JSON texts as objects."""

from __future__ import annotations

import json
from typing import Any

from deployd.bus import BusError
from deployd.errors import BY_DBUS_NAME, AccessDenied, Busy, DeploydError, NoSuchApp, Unreachable

FREEDESKTOP_ERROR = "org.freedesktop.DBus.Error."

Json = dict[str, Any]

_DENIED = {"AccessDenied", "AuthFailed", "InteractiveAuthorizationRequired"}
_NOT_THERE = {"UnknownObject", "UnknownMethod", "UnknownInterface"}
_SILENT = {"ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected", "NoServer", "Timeout", "TimedOut"}


def error_from(error: BusError, app: str = "") -> DeploydError:
    """Return the exception for an error reply; `app` is the app whose object was called, if any."""
    if error.name in BY_DBUS_NAME:
        # Lines below the sentence are output of a process, see add_note().
        sentence, *lines = error.message.split("\n")
        found = BY_DBUS_NAME[error.name](sentence)
        for line in lines:
            found.add_note(f"    {line}")
        return found
    short = error.name.removeprefix(FREEDESKTOP_ERROR)
    if short == "LimitsExceeded":
        return Busy(error.message)
    if short in _DENIED:
        return AccessDenied(f"not allowed: {error.message}")
    if short in _NOT_THERE and app:
        return NoSuchApp(f"there is no app named {app}")
    # Activation through systemd fails with systemd's own errors: no such unit, masked, failed to load.
    if short in _SILENT or short.startswith("Spawn.") or error.name.startswith("org.freedesktop.systemd1."):
        return Unreachable(f"deployd does not answer: {error.message}")
    return DeploydError(error.message or error.name)


def json_object(text: str) -> Json:
    """Return the JSON object in `text`. Raises DeploydError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DeploydError(f"deployd sent invalid JSON: {error}") from error
    if not isinstance(value, dict):
        raise DeploydError("deployd sent JSON that is not an object")
    return value


def lacks_lines(item: Any) -> bool:
    """True if an answer or a signal has, at any depth, only the number of journal lines and not the lines."""
    if isinstance(item, dict):
        count, lines = item.get("journal_lines"), item.get("journal")
        return (bool(count) and not lines) or any(map(lacks_lines, item.values()))
    return isinstance(item, list) and any(map(lacks_lines, item))
