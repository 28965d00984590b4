"""Checks between routing = "steered" and the rest of an app file."""

from __future__ import annotations

from deployd.config.source import Table
from deployd.model.app import MOST_STEERED, App

_STEERED = 'routing = "steered"'


def refuse_what_cannot_be_steered(app: App, top: Table) -> None:
    """Raise InvalidFile if a steered app has settings that do not work with steering."""
    if app.instances > MOST_STEERED:
        raise top.fail(
            "instances",
            f"must be from 1 to {MOST_STEERED} with {_STEERED}, not {app.instances}, because the kernel's tables hold"
            " old and new instances together",
        )
    if any(key == "ReusePort" for key, _ in app.socket):
        raise top.table("socket").fail(
            "ReusePort", f"is set by deployd: with {_STEERED} the sockets of all instances share it; leave it out"
        )


def refuse_what_needs_steering(top: Table) -> None:
    """Raise InvalidFile if an app whose instances share one socket has keys that would have no effect."""
    alone = f"needs {_STEERED}: with a shared socket the kernel distributes connections; set that, or remove this key"
    for key in ("warm_up", "drain"):
        if key in top:
            raise top.fail(key, alone)
    if "watchdog" in (gate := top.table("gate")):
        raise gate.fail(
            "watchdog",
            f"needs {_STEERED}: with a shared socket the kernel does not count the requests of an instance; set that,"
            " or remove this key",
        )
    rollout = top.table("rollout")
    for key in ("standby", "standby_memory"):
        if key in rollout:
            raise rollout.fail(
                key,
                f"needs {_STEERED}: with a shared socket connections would wait for frozen instances; set that, or"
                " remove this key",
            )
