"""deployd setup: install the system files of a deployd that came as a Python package."""

from __future__ import annotations

import typer

from deployd_cli.options import JSON
from deployd_cli.output import message, show, show_json

REMOVE = typer.Option(False, "--remove", help="Remove what setup has installed. Apps keep running.")
PURGE = typer.Option(
    False, "--purge", help="With --remove: also stop all apps, and remove their units and the history."
)


def setup(remove: bool = REMOVE, purge: bool = PURGE, as_json: bool = JSON) -> None:
    """Install or update units, D-Bus files, the manual and so on.

    For a deployd that pip or pipx has installed; Debian packages and RPMs need no setup.
    """
    from deployd_cli.setup import installation, places, requirements
    from deployd_cli.setup.executor import Executor
    from deployd_cli.text.setup import document, installed_lines, notes, removed_lines

    if purge and not remove:
        raise typer.BadParameter("it needs --remove", param_hint="--purge")
    requirements.require_root()
    scope, executor = places.system(), Executor()
    done = installation.remove(scope, executor, purge=purge) if remove else installation.install(scope, executor)
    if as_json:
        show_json(document(done))
        return
    show(removed_lines(done, purge=purge) if remove else installed_lines(done))
    for line in notes(done):
        message(f"deployd: {line}")
