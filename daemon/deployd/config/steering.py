"""Checks between routing = "steered", which is the default, and the rest of an app file."""

from __future__ import annotations

import posixpath

from deployd.config.source import Table
from deployd.model.app import MOST_STEERED, App

_STEERED = 'routing = "steered"'

_WORKERS_OR_FILE = ("-k", "--worker-class", "--threads", "-c", "--config")
"""Options of gunicorn(1) that choose workers which answer several requests at a time, or a file that may do so."""


def unsteerable(app: App) -> str:
    """Return why an app cannot be steered whatever the machine can do, as part of a sentence, or ""."""
    if app.instances > MOST_STEERED:
        return f"{app.instances} instances are more than the {MOST_STEERED} that can be steered"
    if any(key == "ReusePort" for key, _ in app.socket):
        return "ReusePort of [socket] is set by deployd if an app is steered"
    return ""


def doubts(app: App) -> tuple[str, ...]:
    """Return what a user may not expect of the routing of an app, as sentences."""
    if app.routing_reason:
        return (f"routing is left out, and the instances share one socket: {app.routing_reason}",)
    return _one_by_one(app) if app.steered else ()


def _one_by_one(app: App) -> tuple[str, ...]:
    """Return a sentence for gunicorn with its default workers, which answer one request at a time."""
    named = any(posixpath.basename(word) == "gunicorn" for word in app.exec[:3])
    chosen = any(word.startswith(_WORKERS_OR_FILE) for word in app.exec[1:])
    if not named or chosen or "GUNICORN_CMD_ARGS" in dict(app.environment):
        return ()
    return (
        "gunicorn with sync workers answers one request at a time: at high load with rare costly requests, clients may"
        f' wait less with routing = "shared" than with {_STEERED}; see routing in deployd.app(5)',
    )


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
