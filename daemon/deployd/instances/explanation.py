"""Why an instance failed, in systemd's own words: its messages complete what its properties say. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deployd.model.failure import Failure
from deployd.model.remedies import IN_BACKGROUND, WITHOUT_READY, remedy
from deployd.systemd.exit_status import failed_step
from deployd.systemd.fields import harmless
from deployd.systemd.notices import Account, Ended
from deployd.systemd.observe import ENDED_EARLY, NOT_READY, RESTARTED, UNEXPLAINED

COMMANDS = frozenset({"ExecCondition", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"})
"""Directives of commands next to the main process, as properties of the unit."""

_ADVICE = {NOT_READY: WITHOUT_READY, ENDED_EARLY: IN_BACKGROUND}
"""By the end of an instance, if systemd and the program said nothing that helps."""

LONGEST = 120
"""Characters of a command that are shown."""


def explained(failure: Failure, detail: str, account: Account, listen: Sequence[str], command: str = "") -> Failure:
    """Return the failure with what the journal says of its instance.

    `detail` is the end of the instance by its properties, which the reason contains; `command` is the command line
    of the control process that failed, if one did.
    """
    reason = failure.reason.replace(detail, _detail(detail, account, command)) if detail else failure.reason
    more = addition(account, listen, detail)
    ended = account.ended
    if ended is not None and (ended.is_control or (failure.exit_status is None and failure.signal is None)):
        failure = replace(failure, exit_status=ended.exit_status, signal=ended.signal)
    return replace(failure, reason=f"{reason}{more}", journal=account.lines)


def addition(account: Account, listen: Sequence[str], detail: str = "") -> str:
    """Return what systemd said of the end of an instance or hook and what to do about it, to be added to `detail`."""
    steps = {words: failed_step(words) for words in account.said}
    said = [f"{words} ({step})" if step and step not in detail else words for words, step in steps.items()]
    advice = remedy(account.said, account.lines, listen) or _ADVICE.get(detail, "")
    return "".join([f": {'; '.join(said)}" if said else "", f"; {advice}" if advice else ""])


def command_line(commands: Any, ended: Ended) -> str:
    """Return the command line of the process that ended, from the unit's property of that directive, "" if unknown.

    The elements are (path, arguments, ..., code, status), see org.freedesktop.systemd1(5).
    """
    for path, arguments, *_, status in commands if isinstance(commands, list) else ():
        if ended.exit_status in (None, status):
            line = harmless(shlex.join(arguments or [path]))
            return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
    return ""


def _detail(detail: str, account: Account, command: str) -> str:
    ended = account.ended
    if ended is None:
        return detail.removesuffix(UNEXPLAINED) if account.said else detail
    if ended.is_control:
        when = next((when for when in (" before it was ready", " after it was ready") if when in detail), "")
        return f"failed{when}: {ended.command}={f' ({command})' if command else ''} {ended}"
    return f"{ended} and was restarted by systemd" if detail == RESTARTED else detail
