"""Messages of systemd about one invocation of a unit, and what they say of its end. Pure.

A message counts as systemd's if PID 1 wrote it, or the process that PID 1 had forked for the unit and that had not yet
executed the program: a process of root, or one of the unit. So an app can claim things about itself only, and other
users about nothing.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.model.scope import SYSTEM, JournalFields
from deployd.systemd.fields import harmless, text

PROCESS_EXIT = "98e322203f7a4ed290d09fe03c09fe15"
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
STOPPED = "9d1aaa27d60140bd96365438aad20286"
SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"
_FOLLOWS = frozenset(
    {
        "d9b373ed55a64feb8242e02dbe79a49c",  # Failed with result ...
        "be02cf6855d2428ba40df7e9d022f03d",  # Failed to start ...
        PROCESS_EXIT,
    }
)
"""MESSAGE_IDs (sd-messages.h) of messages that say only what the properties of the unit say."""
_OBVIOUS = re.compile(r"start operation timed out|State '[a-z-]+' timed out|Failed to run 'start' task|Failed at step ")
_WARNING = 4
_SHOWN = 2
_KILLED = re.compile(r"Killing process \d+ \((.*)\) with signal SIGKILL")
_ASSIGNMENT = re.compile(r"(Ignoring invalid environment assignment) '(?:(export) )?.*'(: .*)", re.DOTALL)
_MAIN = "ExecStart"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message of systemd about a unit."""

    message: str
    message_id: str = ""
    priority: int = 6
    command: str = ""
    """The directive whose process has ended, such as ``ExecStartPost``."""
    exit_code: str = ""
    exit_status: int = 0
    job_type: str = ""
    """The type of the job that has ended or begins, such as ``stop``."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The process whose end made a unit fail."""

    command: str
    """The directive that it was started for, such as ``ExecStart``."""
    exit_status: int | None
    signal: str | None

    @property
    def is_control(self) -> bool:
        """True if it was another process than the main process."""
        return self.command not in ("", _MAIN)

    def __str__(self) -> str:
        return f"exited with status {self.exit_status}" if self.signal is None else f"was killed by {self.signal}"


@dataclass(frozen=True, slots=True)
class Account:
    """What the journal says of one invocation of a unit."""

    lines: tuple[str, ...] = ()
    """What its processes wrote: the last lines, oldest first."""
    said: tuple[str, ...] = ()
    """What systemd warned of, oldest first, without what its properties say as well."""
    ended: Ended | None = None
    """The first of its processes that failed."""
    killed: tuple[str, ...] = ()
    """The names of its processes that systemd has killed by SIGKILL."""
    stop_requested: bool | None = None
    """True if a stop job ended it, None if the journal does not say."""


def notice(entry: Mapping[str, Any], unit: str, names: JournalFields = SYSTEM.journal) -> Notice | None:
    """Return an entry of the journal as a message of systemd about a unit, None if systemd did not write it.

    With `unit` "" only the messages of the service manager's user are believed.
    """
    ours = bool(unit) and text(entry.get(names.of_unit)) == unit and _id(entry) == SPAWN_FAILED
    is_child = names.about_unit in entry and text(entry.get("_COMM")).startswith("(")
    child = text(entry.get("_UID")) == names.owner and is_child
    if not is_managers(entry, names) and not ours and not child:
        return None
    return Notice(
        _without_unit(harmless(text(entry.get("MESSAGE")))),
        _id(entry),
        _number(entry.get("PRIORITY"), 6),
        text(entry.get("COMMAND")),
        text(entry.get("EXIT_CODE")),
        _number(entry.get("EXIT_STATUS"), 0),
        text(entry.get("JOB_TYPE")),
    )


def is_managers(entry: Mapping[str, Any], names: JournalFields) -> bool:
    """True if the service manager itself wrote the entry."""
    return all(text(entry.get(key)) == value for key, value in names.of_manager.items())


def account(notices: Iterable[Notice], lines: tuple[str, ...] = ()) -> Account:
    """Return what these messages of one invocation say, given oldest first."""
    found = list(notices)
    ends = [_ended(item) for item in found if item.message_id == PROCESS_EXIT]
    killed = [match[1] for item in found if (match := _KILLED.search(item.message)) is not None]
    # An automatic restart writes that the unit is stopped, too, for a job of the type restart.
    stopped = any(item.message_id == STOPPED and item.job_type == "stop" for item in found)
    requested = True if stopped else False if any(item.message_id == STARTING for item in found) else None
    return Account(lines, _said(found), next(iter(ends), None), tuple(killed), requested)


def _said(notices: Iterable[Notice]) -> tuple[str, ...]:
    steps, warnings = list[str](), list[str]()
    for item in notices:
        if item.message_id in _FOLLOWS or item.priority > _WARNING:
            continue
        if item.message_id == SPAWN_FAILED:
            steps.append(item.message)
        elif not _OBVIOUS.search(item.message):
            warnings.append(_ASSIGNMENT.sub(_without_value, item.message))
    # The message before "Failed at step ..." is more precise, if there is one.
    return tuple(dict.fromkeys(warnings or steps))[:_SHOWN]


def _without_value(match: re.Match[str]) -> str:
    """Return the message without the line of the environment file, which may be a secret."""
    prefix = ' ("export" is not part of the syntax)' if match[2] else ""
    return f"{match[1]}{prefix}{match[3]}"


def _ended(item: Notice) -> Ended:
    if item.exit_code == "exited":
        return Ended(item.command, item.exit_status, None)
    try:
        name = signal.Signals(item.exit_status).name
    except ValueError:
        name = f"signal {item.exit_status}"
    return Ended(item.command, None, name)


def _without_unit(message: str) -> str:
    prefix, colon, rest = message.partition(": ")
    return rest if colon and re.fullmatch(r"\S+\.(?:service|socket|mount)", prefix) else message


def _id(entry: Mapping[str, Any]) -> str:
    """Return MESSAGE_ID, which the library converts to a UUID."""
    return text(entry.get("MESSAGE_ID")).replace("-", "")


def _number(value: Any, default: int) -> int:
    found = text(value)
    return int(found) if found.isascii() and found.isdigit() and len(found) < 10 else default
