"""The private sockets of instances that are asked over HTTP."""

from __future__ import annotations

from deployd.model.app import App

DIRECTORY = "/run/deployd/probe"


def has_socket(app: App) -> bool:
    """Do the instances of `app` have private sockets?"""
    return app.gate.has_probe_socket


def path(app_name: str, number: int | str) -> str:
    """Where instance `number` is asked; ``%i`` stands for its number in units."""
    return f"{DIRECTORY}/{app_name}/{number}.sock"
