"""deployd init: write the app file of an app."""

from __future__ import annotations

from pathlib import Path

import typer

from deployd_cli.commands.presets import preset_names
from deployd_cli.options import absolute, listen_address
from deployd_cli.output import message, show

APPS = Path("/etc/deployd/apps")
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
    from deployd_cli.presets import addresses, catalog, installed, proposing, rendering

    if problem := name_problem(app):
        raise typer.BadParameter(problem, param_hint="APP")
    address = listen_address(listen) if listen else addresses.free(addresses.used(APPS, app))
    known = catalog.load()
    directory = absolute(release) or f"/srv/{app}/current"
    choice = proposing.choose(known, Path(directory), preset)
    integrations = installed.integrations()
    wishes = rendering.Wishes(
        app=app,
        release=directory,
        listen=address,
        instances=instances or proposing.instances(choice, _processors()),
        user=user or (DEFAULT_USER if _exists(DEFAULT_USER) else ""),
        integrations=str(integrations),
    )
    rendered = rendering.render(choice.preset, wishes, choice.facts, choice.reason, known.directories)
    path = APPS / f"{app}.toml" if not output else Path(output).absolute()
    if output == "-":
        show(rendered.text.splitlines())
    else:
        file_writer.write(path, rendered.text, replace=force)
    for line in choice.lines(rendered.used):
        message(f"{app}: {line}")
    if f"{integrations}/" in rendered.text and not integrations.is_dir():
        message(f"{app}: exec needs {integrations}, which is missing; deployd setup puts it there")
    if output != "-":
        _report_written(app, path)


def _report_written(app: str, path: Path) -> None:
    installed = path == APPS / f"{app}.toml"
    message(f"{app}: {path} is written" + ("" if installed else f"; copy it to {APPS}/{app}.toml"))
    message(f"{app}: next: deployd check {app}, then deployd apply {app}")


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
