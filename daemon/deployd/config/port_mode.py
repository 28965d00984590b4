"""Checks between mode = "port" and the rest of an app file."""

from __future__ import annotations

from deployd.config.source import Table
from deployd.model.app import PORT, App, Mode

MOST_ADDRESSES = 6
"""sh can close the descriptors up to 9 only, and the sockets begin with 3."""

_PORT = 'mode = "port"'


def doubts(app: App) -> tuple[str, ...]:
    """Return what a user may not expect of the mode of an app, as sentences."""
    if app.mode is Mode.PORT or "PORT" in dict(app.environment):
        return ()
    return tuple(
        f"exec passes {word} to the program as it is: with {_PORT} each instance gets a port of its own in its place"
        for word in app.exec[1:]
        if PORT.search(word)
    )


def refuse_what_needs_a_socket(app: App, top: Table) -> None:
    """Raise InvalidFile if a program that listens on a port of its own has settings that cannot work with that."""
    if app.mode is not Mode.PORT:
        return
    if not app.steered:
        raise top.fail(
            "mode",
            'must not be "port" with routing = "shared": an instance would accept connections until it stops'
            f" and lose some; {app.routing_reason or 'leave routing out'}",
        )
    if app.has_unix or len(app.listen) > MOST_ADDRESSES:
        raise top.fail("listen", f"must be up to {MOST_ADDRESSES} TCP addresses with {_PORT}; remove the others")
    if not app.gate.asks_http:
        raise top.fail(
            "mode",
            'of "port" needs a probe, which shows that connections get through to the program; add gate = { type ='
            ' "exec", probe = { http = "/" } }',
        )
    if app.instances == 1 and not app.pace.max_surge.value:
        raise top.table("rollout").fail(
            "max_surge", f"must be 1 or more with {_PORT} and one instance, or connections would be lost; leave it out"
        )
    if "PORT" in dict(app.environment):
        raise top.table("environment").fail("PORT", f"is set by deployd with {_PORT}; leave it out")
