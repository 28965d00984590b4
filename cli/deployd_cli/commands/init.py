"""deployd init: write the app file of an app."""

from __future__ import annotations

from pathlib import Path

import typer

from deployd.model import advice
from deployd.model.scope import Scope
from deployd_cli.commands.presets import preset_names
from deployd_cli.options import absolute, listen_address
from deployd_cli.output import message, show

DEFAULT_USER = "www-data"

APP = typer.Argument(..., metavar="APP", help="Name of the app.", show_default=False)
PRESET = typer.Option(
    "",
    "--preset",
    metavar="PRESET",
    help="Preset to use; by default the one that fits the release.",
    show_default=False,
    autocompletion=preset_names,
)
RELEASE = typer.Option(
    "", "--release", metavar="DIR", help="Release directory; /srv/APP/current by default.", show_default=False
)
LISTEN = typer.Option(
    "",
    "--listen",
    metavar="ADDRESS",
    help="Address of clients; by default 127.0.0.1 and a port from 8080 on that no other app file has.",
    show_default=False,
)
INSTANCES = typer.Option(
    0,
    "--instances",
    metavar="N",
    min=1,
    max=500,
    help="Number of instances; one per processor by default.",
    show_default=False,
)
USER = typer.Option("", "--user", metavar="USER", help="User of the app; www-data by default.", show_default=False)
OUTPUT = typer.Option("", "--output", metavar="FILE", help="File to write; - for standard output.", show_default=False)
FORCE = typer.Option(False, "--force", help="Replace an app file that exists.")


def init(
    app: str = APP,
    preset: str = PRESET,
    release: str = RELEASE,
    listen: str = LISTEN,
    instances: int = INSTANCES,
    user: str = USER,
    output: str = OUTPUT,
    force: bool = FORCE,
) -> None:
    """Write a commented app file for the server that a release runs.

    Says why it chose the preset, and what to look at. Needs no daemon.
    """
    from deployd.model.app_name import name_problem
    from deployd_cli import file_writer
    from deployd_cli.chosen import Chosen
    from deployd_cli.presets import addresses, catalog, installed, proposing, rendering

    scope = Chosen.scope
    if scope.is_user and user:
        raise typer.BadParameter("apps of a user run as that user; leave it out", param_hint="--user")
    if problem := name_problem(app):
        raise typer.BadParameter(problem, param_hint="APP")
    address = listen_address(listen) if listen else addresses.free(addresses.used(scope.apps, app))
    known = catalog.load(scope.presets)
    directory = absolute(release) or f"{_releases(scope)}/{app}/current"
    choice = proposing.choose(known, Path(directory), preset)
    if listen and choice.preset.socket == "none":
        raise typer.BadParameter(f"preset {choice.preset.name} serves no clients; leave it out", param_hint="--listen")
    integrations = installed.integrations(*([scope.data / "deployd/integrations"] if scope.is_user else []))
    wishes = rendering.Wishes(
        app=app,
        release=directory,
        listen=address,
        instances=instances or proposing.instances(choice, _processors()),
        user=user or _default_user(scope),
        integrations=str(integrations),
        in_user_mode=scope.is_user,
        secrets=str(scope.configuration / "environment") if scope.is_user else "/etc/default",
    )
    rendered = rendering.render(choice.preset, wishes, choice.facts, choice.reason, known.directories)
    path = scope.apps / f"{app}.toml" if not output else Path(output).absolute()
    if output == "-":
        show(rendered.text.splitlines())
    else:
        if scope.is_user and not output:
            scope.apps.mkdir(parents=True, exist_ok=True)  # the daemon makes it, too, when it starts
        file_writer.write(path, rendered.text, replace=force)
    for line in choice.lines(rendered.used):
        message(f"{app}: {line}")
    if f"{integrations}/" in rendered.text and not integrations.is_dir():
        message(f"{app}: exec needs {integrations}, which is missing; {advice.deployd()} setup puts it there")
    if output != "-":
        _report_written(app, path, scope.apps)


def _report_written(app: str, path: Path, apps: Path) -> None:
    installed = path == apps / f"{app}.toml"
    message(f"{app}: {path} is written" + ("" if installed else f"; copy it to {apps}/{app}.toml"))
    message(f"{app}: next: {advice.deployd()} check {app}, then {advice.deployd()} apply {app}")


def _releases(scope: Scope) -> str:
    """Return the directory in which the releases of all apps are by default."""
    return str(Path.home() / "apps") if scope.is_user else "/srv"


def _default_user(scope: Scope) -> str:
    return DEFAULT_USER if not scope.is_user and _exists(DEFAULT_USER) else ""


def _processors() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _exists(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
