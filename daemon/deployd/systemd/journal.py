"""The journal: logging with fields (to stderr outside systemd), and a reader.

Entries about an app have DEPLOYD_APP and, where they apply, DEPLOYD_PROCESS, DEPLOYD_GENERATION, DEPLOYD_INSTANCE, UNIT
and a MESSAGE_ID that packaging/catalog explains (journalctl -x).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from deployd.model import unit_name
from deployd.model.event import EventName
from deployd.model.scope import SYSTEM, JournalFields

MESSAGE_IDS = {
    EventName.STARTED: "6291d903cfdc4ce1992cf1a387ff38d0",
    EventName.FINISHED: "a30afb23c09d463ba8767c57a1421693",
    EventName.FAILED_GATE: "1f4fdf8675df448d88c14aeaaaf55d88",
    EventName.ROLLING_BACK: "06791bbef65c47e49724b795657cc755",
    EventName.PAUSED: "f8d57fec64e640858d1ddd3e5ffd2e0d",
    EventName.RESUMED: "d9616558cf60471094de58fdd40ce6a2",
    EventName.INSTANCE: "31381f9bf99349408c8b4d5de27f66ff",
    EventName.CRASH_LOOP: "7dcfca40a5fa416fb2e7d8e6bb7da0f0",
    EventName.WATCH: "7bbf63276549440e8a1ef800953f4945",
    EventName.TAKEN_BACK: "4c1a2f8d06c94fe78d07b25b3b7365df",
    EventName.HOOK: "ae5e1c2ea1354e32b6174a962c9468e9",
}
"""The MESSAGE_ID of the journal entry of an event."""

_BAD = frozenset(
    {
        EventName.FAILED_GATE,
        EventName.ROLLING_BACK,
        EventName.PAUSED,
        EventName.CRASH_LOOP,
        EventName.TAKEN_BACK,
        EventName.WARNING,
    }
)


def to_journal() -> bool:
    """True if stderr is the journal's socket, whose device and inode are in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        stat = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def configure(names: JournalFields = SYSTEM.journal) -> None:
    """Set up the root logger."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if to_journal():
        from systemd.journal import JournalHandler

        to_socket = JournalHandler(SYSLOG_IDENTIFIER="deployd")
        to_socket.addFilter(_AppFields(names))
        root.addHandler(to_socket)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        root.addHandler(handler)


class _AppFields(logging.Filter):
    """Adds the fields of the app to a message about one, whose format begins with "%s: " for its name."""

    def __init__(self, names: JournalFields = SYSTEM.journal) -> None:
        super().__init__()
        self._names = names

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args
        if str(record.msg).startswith("%s: ") and isinstance(arguments, tuple) and isinstance(arguments[0], str):
            record.__dict__.update(_about(arguments[0], self._names))
        return True


def _about(app: str, names: JournalFields) -> dict[str, str]:
    """Return the journal fields of any message about an app.

    With OBJECT_SYSTEMD_UNIT, `journalctl -u` and `systemctl status` of the app unit show the entry, which they do for
    UNIT only if PID 1 wrote it.
    """
    unit = unit_name.app_unit(app)
    return {"DEPLOYD_APP": app, names.about_unit: unit, names.about_object: unit}


def open_journal() -> Any:
    """Return a reader of the journal: systemd.journal.Reader, a context manager. Raises OSError."""
    from systemd.journal import Reader

    return Reader()


def fields(app: str, event: EventName, data: dict[str, Any], names: JournalFields = SYSTEM.journal) -> dict[str, str]:
    """Return the journal fields of an event."""
    found = _about(app, names)
    if event in MESSAGE_IDS:
        found["MESSAGE_ID"] = MESSAGE_IDS[event]
    generation = data.get("generation") or data.get("to")
    if generation:
        found["DEPLOYD_GENERATION"] = str(generation)
    if data.get("reason"):
        found["DEPLOYD_REASON"] = str(data["reason"])
    if data.get("instance"):
        found["DEPLOYD_INSTANCE"] = str(data["instance"])
        found[names.about_unit] = unit_name.instance(_subject(app, data), data["instance"])
    if data.get("process"):
        found["DEPLOYD_PROCESS"] = str(data["process"])
    return found


def sentence(app: str, event: EventName, data: dict[str, Any]) -> str:
    """Return the message of an event."""
    app = _subject(app, data)
    reason = f": {data['reason']}" if data.get("reason") else ""
    match event:
        case EventName.STARTED:
            return f"{app}: rolling out generation {data['to']} from {data['release']} ({data['cause']})"
        case EventName.INSTANCE:
            return f"{app}: instance {data['instance']} of generation {data['generation']} {data['state']}{reason}"
        case EventName.PROBE:
            number, generation = data["instance"], data["generation"]
            return f"{app}: instance {number} of generation {generation} waits for its probe{reason}"
        case EventName.WAITING if data.get("instance"):
            return f"{app}: instance {data['instance']} of generation {data['generation']} {data['reason']}"
        case EventName.CRASH_LOOP:
            return f"{app}: instance {data['instance']} {data['reason']}"
        case EventName.FINISHED:
            return f"{app}: rollout of generation {data['generation']} {_ended(data)}{reason}"
        case EventName.WATCH:
            until = f" until {data['until']}" if data["state"] == "started" else ""
            return f"{app}: watch of generation {data['generation']} {data['state']}{until}{reason}"
        case EventName.TAKEN_BACK:
            return f"{app}: generation {data['generation']} was taken back by generation {data['by']}{reason}"
        case EventName.HOOK if data.get("reason"):
            return f"{app}{reason}"  # the reason names the hook
        case EventName.SMOKE:
            return f"{app}: smoke test {data['command']} of instance {data['instance']} {data['state']}"
        case EventName.HOOK:
            return f"{app}: {data['hook']} hook {data['command']} {data['state']}"
        case EventName.ADDRESS:
            return f"{app}: {data['address']} is {'open' if data['open'] else 'closed'}{reason}"
        case EventName.FAILED_GATE:
            return f"{app}: gate failed{reason}"
        case EventName.WARNING:
            return f"{app}: warning{reason}{': ' if data.get('journal') else ''}{' '.join(data.get('journal', ()))}"
        case EventName.ROLLING_BACK:
            origin = data.get("from")
            what = f"rolling back to generation {origin}" if origin else "removing the failed first deployment"
            return f"{app}: {what}{reason}"
        case _:
            return f"{app}: {event}{reason}"


def _subject(app: str, data: dict[str, Any]) -> str:
    """Return the name of the app, or of the process type, that an event is about."""
    return f"{app}.{data['process']}" if data.get("process") else app


def _ended(data: dict[str, Any]) -> str:
    """Return the result of a rollout, and what is live after it instead of its generation."""
    result, origin = str(data["result"]), data.get("from")
    returned = result in ("rolled-back", "aborted") and origin
    return f"{result}, generation {origin} is live" if returned else result


def level(event: EventName, data: dict[str, Any]) -> int:
    """Return the log level of an event: a warning for anything that is not a success."""
    bad = data.get("state") == "failed" or event in _BAD or data.get("open") is False
    return logging.WARNING if bad or data.get("result") not in (None, "succeeded") else logging.INFO
