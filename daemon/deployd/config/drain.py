"""The [drain] table: how an instance that gets no new connections is stopped."""

from __future__ import annotations

from deployd.config import values
from deployd.config.source import Table
from deployd.model.app import Drain

_HOUR = 3600.0

_ENDS = ("SIGKILL", "SIGSTOP")
"""Signals that no program can handle."""


def drain(table: Table, stop_signal: str) -> Drain:
    """Read the table. `stop_signal` is that of [stop]."""
    default = Drain()
    found = Drain(
        close_after=table.get("close_after", values.duration(0, values.DAY), default.close_after),
        signal=table.get("signal", values.signal, default.signal),
        command=table.get("command", values.argv, default.command),
        settle=table.get("settle", values.duration(0, _HOUR), default.settle),
    )
    table.finish()
    if found.signal in _ENDS:
        raise table.fail("signal", f"{found.signal} cannot be handled by a program; choose another, such as SIGUSR1")
    if found.signal and found.signal == stop_signal:
        raise table.fail(
            "signal",
            f"{found.signal} is the signal that stops the instance ([stop] signal); choose another, or remove it",
        )
    if found.signal and found.command:
        raise table.fail("command", "has the same purpose as signal; remove one of them")
    if found.gives_notice and not found.close_after:
        key = "signal" if found.signal else "command"
        raise table.fail(key, "needs close_after, the time that clients get to leave; set that, or remove this key")
    return found
