"""Checks of an app that listens on no address, such as a worker that takes jobs from a queue."""

from __future__ import annotations

from deployd.config.source import Table

_ADD = "add listen, or remove this key"

_TOP = {
    "routing": "is about connections of clients",
    "warm_up": "is about connections of clients",
    "drain": "is about connections of clients",
    "mode": "is about how a program gets its connections",
    "socket": "has settings of listening sockets",
}
_ROLLOUT = {
    "standby": "keeps frozen what connections can be sent to again",
    "standby_memory": "is about standby, which is about connections of clients",
}


def refuse_what_needs_an_address(top: Table) -> None:
    """Raise InvalidFile for keys that mean nothing without `listen`."""
    for key, purpose in _TOP.items():
        if key in top:
            raise top.fail(key, f"{purpose}, and the app has no listen; {_ADD}")
    gate, rollout = top.table("gate"), top.table("rollout")
    if "watchdog" in gate:
        raise gate.fail("watchdog", f"is about requests of clients, and the app has no listen; {_ADD}")
    if "probe" in gate and "http" in (probe := gate.table("probe")):
        raise probe.fail(
            "http",
            "needs a socket, and the app has no listen; write"
            ' probe = { command = ["bin/check"] }, or have the program send READY=1',
        )
    for key, purpose in _ROLLOUT.items():
        if key in rollout:
            raise rollout.fail(key, f"{purpose}, and the app has no listen; {_ADD}")
