"""Entries of the journal about an app, as in ``shop@3 gen 7 | GET / 200``.

Who wrote an entry is taken from the fields that journald itself adds (systemd.journal-fields(7)), since any user can
write the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployd.model import unit_name
from deployd.model.scope import SYSTEM, JournalFields
from deployd_cli.text.paint import Paint
from deployd_cli.text.words import printable, verbatim

Entry = Mapping[str, Any]

FIELDS = (
    "MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "UNIT", "INVOCATION_ID", "USER_UNIT",
    "USER_INVOCATION_ID", "DEPLOYD_GENERATION", "_PID", "_UID", "_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT",
    "_SYSTEMD_INVOCATION_ID",
)  # fmt: skip
"""The fields that are read."""

LONGEST = 65536
"""Columns of a line."""

DAEMON = "deployd.service"

REPEATED = {
    "7d4958e842da4a758f6c1cdc7b36dcc5": "Starting",
    "39f53479d3a045ac8e11786248231fbf": "Started",
    "de5b426a63be47a7b6ac3eaac82e2f6f": "Stopping",
    "9d1aaa27d60140bd96365438aad20286": "Stopped",
    "be02cf6855d2428ba40df7e9d022f03d": "Failed to start",
    "7ad2d189f7e94e70a38c781354912448": "Deactivated successfully",
    "d9b373ed55a64feb8242e02dbe79a49c": "Failed with result",
    "ae8f7b866b0347b9af31fe1c80b127c0": "Consumed CPU time",
}
"""Messages of systemd, by MESSAGE_ID, about what deployd, or systemd itself just before, says with the reason."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who wrote an entry, or what it is about if systemd did."""

    label: str
    speaker: str = ""
    """``systemd`` for its entries."""
    invocation: str = ""
    """The invocation ID of the instance, whose generation is known to the daemon."""
    generation: str = ""
    """The generation, as far as the entry has it."""


def origin(app: str, entry: Entry, names: JournalFields = SYSTEM.journal) -> Origin:
    """Return who wrote the entry."""
    unit, speaker, invocation = field(entry, names.of_unit), "", field(entry, "_SYSTEMD_INVOCATION_ID")
    if _is_managers(entry, names):
        unit, speaker, invocation = field(entry, names.about_unit), "systemd", field(entry, names.about_invocation)
    elif not unit and not names.has_extra and field(entry, "_UID") == names.owner:
        unit = f"{field(entry, 'SYSLOG_IDENTIFIER')}.service"  # all that is known of a process that has ended
    if unit_name.is_instance(unit) and _is_of(app, unit):
        return Origin(unit.removesuffix(".service"), speaker, invocation)
    if unit == DAEMON:
        return Origin("deployd", speaker, generation=field(entry, "DEPLOYD_GENERATION"))
    if _is_of(app, unit):
        return Origin(unit.removesuffix(".service"), speaker, generation=field(entry, "DEPLOYD_GENERATION"))
    return Origin(unit or f"uid {field(entry, '_UID') or '?'}", speaker)


def is_repeated(app: str, entry: Entry, names: JournalFields = SYSTEM.journal) -> bool:
    """True if systemd says of a part of the app what another entry says as well."""
    unit = field(entry, names.about_unit)
    whole = unit == unit_name.app_unit(app) or unit_name.shared_socket_count(app, unit) is not None
    repeated = _is_managers(entry, names) and field(entry, "MESSAGE_ID") in REPEATED
    return repeated and _is_of(app, unit) and not whole


def _is_of(app: str, unit: str) -> bool:
    """True if a unit belongs to the app or to one of its process types."""
    name = unit_name.app(unit)
    return name == app or name.startswith(f"{app}.")


def _is_managers(entry: Entry, names: JournalFields) -> bool:
    """True if the service manager wrote the entry."""
    return all(field(entry, key) == value for key, value in names.of_manager.items())


def log_lines(
    app: str, entry: Entry, generation: int | None, paint: Paint, names: JournalFields = SYSTEM.journal
) -> list[str]:
    """Return the lines of an entry; `generation` is that of its invocation, if known."""
    found = origin(app, entry, names)
    number = str(generation) if generation is not None else found.generation
    label = f"{found.label} gen {number}" if number else found.label
    before = f"{paint('dim', _time(entry))} {paint('strong', printable(label))} | "
    text, unit = field(entry, "MESSAGE"), field(entry, names.about_unit)
    for name in (f"{unit}: ", f"{found.label}.service: ") if found.label != "deployd" else (f"{app}: ",):
        text = text.removeprefix(name)
    text = f"{found.speaker}: {text}" if found.speaker else text
    priority = field(entry, "PRIORITY")
    style = "bad" if priority in ("0", "1", "2", "3") else "busy" if priority == "4" else ""
    return [before + paint(style, verbatim(line, LONGEST)) for line in text.rstrip("\n").split("\n")]


def field(entry: Entry, key: str) -> str:
    """Return a field as text: journalctl has a list for one that occurs twice, and bytes for what is not UTF-8."""
    value = entry.get(key)
    if isinstance(value, list) and value and all(isinstance(item, int) and 0 <= item < 256 for item in value):
        return bytes(value).decode(errors="replace")
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else ""


def _time(entry: Entry) -> str:
    stamp = field(entry, "__REALTIME_TIMESTAMP")
    if not stamp.isdecimal() or len(stamp) > 17:
        return "-"
    return datetime.fromtimestamp(int(stamp) / 1e6).astimezone().strftime("%b %d %H:%M:%S")
