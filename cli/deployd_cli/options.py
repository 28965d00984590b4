"""Arguments and options that several commands share, so that they are called and explained alike everywhere.

They are defaults, not Annotated, and no type is optional: Debian 12's typer 0.7 knows neither.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer


def app_names(incomplete: str) -> list[str]:
    """For the shell's completion, which wants silence and speed rather than errors."""
    from deployd.errors import DeploydError
    from deployd_cli.session import run

    try:
        names = run(lambda client: client.list_apps(timeout=1.0), timeout=1.0)
    except DeploydError:
        return []
    return [name for name in names if name.startswith(incomplete)]


APP = typer.Argument(..., metavar="APP", help="Name of the app.", show_default=False, autocompletion=app_names)
APP_OR_ALL = typer.Argument(
    "", metavar="APP", help="Name of the app; all of them if left out.", show_default=False, autocompletion=app_names
)
JSON = typer.Option(False, "--json", help="Print JSON, for programs.")
JSON_LINES = typer.Option(False, "--json", help='Print JSON, one event a line; the last is "finished".')
NO_BLOCK = typer.Option(False, "--no-block", help="Do not wait for the end.")
CANARY = typer.Option(
    "",
    "--canary",
    metavar="N|P%",
    help="Wait when N new instances, or as many as come to P% of new connections, have passed beside the old.",
    show_default=False,
)
SUPERSEDE = typer.Option(False, "--supersede", help="A rollout that is under way gives way to this one.")
PAST_IRREVERSIBLE = typer.Option(
    False, "--past-irreversible", help="Go back even past a generation that says it cannot be undone."
)
RELEASE = typer.Option(
    "", "--release", metavar="DIR", help="The release to take instead of the app file's.", show_default=False
)


def share(text: str, what: str) -> float:
    """``5%`` or ``0.5%`` as a share, 0 to 1. `what` is the argument's name, for who wrote it wrong."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", text.strip())
    if found is None or float(found[1]) > 100:
        raise typer.BadParameter(f'"{text}" is no share from 0% to 100%; write it as 5% or 0.5%', param_hint=what)
    return float(found[1]) / 100


def canary_of(text: str) -> float:
    """The value of --canary: an int is a number of instances, a float a share of new connections; 0 for none."""
    if not text:
        return 0
    if re.fullmatch(r"[0-9]{1,4}", text) and int(text):
        return int(text)
    if text.endswith("%") and (part := share(text, "--canary")):
        return part
    raise typer.BadParameter(
        f'"{text}" is neither a number of instances from 1 up, nor a share above 0%, as in 5%', param_hint="--canary"
    )


def absolute(release: str) -> str:
    """The daemon works in another directory; links it follows itself, when the rollout starts."""
    return str(Path(release).absolute()) if release else ""
