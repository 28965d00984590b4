"""The [stop] table: how an instance is stopped."""

from __future__ import annotations

from deployd.config import values
from deployd.config.source import Table
from deployd.model.app import StopSettings

_UNHANDLED = ("SIGKILL", "SIGSTOP")
"""Signals that no program can handle."""


def stop_settings(table: Table) -> StopSettings:
    """Read the table."""
    default = StopSettings()
    stop = StopSettings(
        signal=table.get("signal", values.signal, default.signal),
        timeout=table.get("timeout", values.duration(0.1, values.DAY), default.timeout),
        quiet=table.get("quiet", values.signal, default.quiet),
        quiet_for=table.get("quiet_for", values.duration(0, values.DAY), default.quiet_for),
    )
    table.finish()
    if stop.quiet in _UNHANDLED:
        raise table.fail("quiet", f"{stop.quiet} cannot be handled by a program; choose another, such as SIGTSTP")
    if stop.quiet and stop.quiet == stop.signal:
        raise table.fail("quiet", f"{stop.quiet} is the signal that stops the instance; choose another, or remove it")
    if "quiet_for" in table and not stop.quiet:
        raise table.fail("quiet_for", "needs quiet, the signal after which it is waited for; set that, or remove it")
    return stop
