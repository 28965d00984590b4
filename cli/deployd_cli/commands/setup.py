"""deployd setup: install the system files of a deployd that came as a Python package."""

from __future__ import annotations

import os

import typer

from deployd_cli.options import JSON
from deployd_cli.output import message, show, show_json

REMOVE = typer.Option(False, "--remove", help="Remove what setup has installed. Apps keep running.")
PURGE = typer.Option(
    False, "--purge", help="With --remove: also stop all apps, and remove their units and the history."
)


def setup(remove: bool = REMOVE, purge: bool = PURGE, as_json: bool = JSON) -> None:
    """Install or update units, D-Bus files, the manual and so on.

    For a deployd that pip or pipx has installed; Debian packages and RPMs need no setup. With --user, files of the
    calling user.
    """
    from deployd_cli.chosen import Chosen
    from deployd_cli.setup import installation, places, requirements
    from deployd_cli.setup.executor import Executor
    from deployd_cli.text.setup import document, installed_lines, notes, removed_lines

    if purge and not remove:
        raise typer.BadParameter("it needs --remove", param_hint="--purge")
    of_user = Chosen.scope.is_user
    if purge and of_user:
        raise typer.BadParameter("it is for the system; deployd --user remove removes an app", param_hint="--purge")
    if of_user:
        requirements.require_manager(Chosen.scope)
        os.environ["XDG_RUNTIME_DIR"] = str(Chosen.scope.runtime.parent)  # cron and su leave it out
    else:
        requirements.require_root()
    scope, executor = places.of_user(Chosen.scope) if of_user else places.system(), Executor()
    done = installation.remove(scope, executor, purge=purge) if remove else installation.install(scope, executor)
    if as_json:
        show_json(document(done))
        return
    show(removed_lines(done, Chosen.scope, purge=purge) if remove else installed_lines(done))
    for line in notes(done):
        message(f"deployd: {line}")
