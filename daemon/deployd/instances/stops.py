"""How an instance ended that was stopped: as it was asked to, or because systemd had to kill it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from deployd.errors import SystemdError
from deployd.model.remedies import stop_remedy
from deployd.systemd import observe
from deployd.systemd.manager import Systemd
from deployd.systemd.notices import Account
from deployd.systemd.proxy import SERVICE
from deployd.systemd.tail import Tail

_NAMES = 3
"""Names of killed processes that are shown."""


class Stops:
    """Finds out how instances ended that were stopped.

    The journal is read only for those that failed or whose main process a signal killed: a server that ends as it is
    asked to exits.
    """

    def __init__(self, systemd: Systemd, tail: Tail) -> None:
        self._systemd = systemd
        self._tail = tail

    async def problem(self, unit: str, invocation_id: str, program: Sequence[str]) -> str:
        """Return why a unit that is down did not end as it was asked to, and what to do about it; "" if it did.

        The phrase completes a sentence that begins with the instance. `program` is what `exec` of the app starts.
        """
        seen = self._systemd.properties(unit)
        if seen.get("Result") in (None, "success") and observe.killed_by(seen) is None:
            return ""
        account = await self._tail.account(invocation_id, unit)
        try:
            limits = await self._systemd.read(unit, SERVICE, ["TimeoutStopUSec", "KillSignal"])
        except SystemdError:
            limits = {}
        return stop_problem({**seen, **limits}, account, program)


def stop_problem(properties: Mapping[str, Any], account: Account, program: Sequence[str]) -> str:
    """Return what :meth:`Stops.problem` does. Pure."""
    result, killer = str(properties.get("Result", "")), observe.killed_by(properties)
    asked = _signal_name(properties.get("KillSignal"))
    if result == "timeout":
        within = f" within {int(properties['TimeoutStopUSec']) / 1e6:g} s" if "TimeoutStopUSec" in properties else ""
        return f"did not end{within} after {asked} and was killed; {stop_remedy(program, account.killed, asked)}"
    if result == "oom-kill":
        return "ran out of memory while it was stopping"
    if result in ("signal", "core-dump") and killer is not None and not _is_control(account):
        return f"was killed by {killer} while it was stopping"
    if account.killed:
        names = ", ".join(dict.fromkeys(account.killed[:_NAMES]))
        return f"ended with its main process, and its other processes ({names}) were killed; {_WRAPPER}"
    if _is_control(account):
        return f"was stopped, but {account.ended and account.ended.command}= {account.ended}"
    return ""


_WRAPPER = (
    'let the program that exec starts run the server with exec, or set KillMode = "control-group" in [service] so that'
    " all processes get the signal"
)


def _is_control(account: Account) -> bool:
    return account.ended is not None and account.ended.is_control


def _signal_name(number: Any) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "the signal"
