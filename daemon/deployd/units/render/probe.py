"""The private sockets of instances that are asked over HTTP: NAME:probe@N.socket. No app's name has a colon."""

from __future__ import annotations

from deployd.model.app import App

DIRECTORY = "/run/deployd/probe"


def has_socket(app: App) -> bool:
    """Do the instances of `app` have private sockets?"""
    return app.gate.probe is not None and bool(app.gate.probe.http)


def unit(app_name: str) -> str:
    """Their template unit."""
    return f"{app_name}:probe@.socket"


def unit_of(app_name: str, number: int | str) -> str:
    """The socket unit of one instance; ``%i`` stands for its number in units."""
    return f"{app_name}:probe@{number}.socket"


def path(app_name: str, number: int | str) -> str:
    """Where instance `number` is asked; ``%i`` as above."""
    return f"{DIRECTORY}/{app_name}/{number}.sock"
