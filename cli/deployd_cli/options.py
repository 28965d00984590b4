"""Arguments and options that several commands share, so that their names and descriptions are the same everywhere.

They are defaults, not Annotated, and no type is optional: typer 0.7 of Debian 12 supports neither.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deployd.model.fleet import FleetRequest


def app_names(incomplete: str) -> list[str]:
    """Return the apps that complete `incomplete`; none, instead of an error, if the daemon does not answer quickly."""
    from deployd.errors import DeploydError
    from deployd_cli.session import run

    try:
        names = run(lambda client: client.list_apps(timeout=1.0), timeout=1.0)
    except DeploydError:
        return []
    return [name for name in names if name.startswith(incomplete)]


APP = typer.Argument(..., metavar="APP", help="Name of the app.", show_default=False, autocompletion=app_names)
APP_OR_ALL = typer.Argument(
    "", metavar="APP", help="Name of the app; all apps if omitted.", show_default=False, autocompletion=app_names
)
APP_OR_HOST = typer.Argument(
    "", metavar="APP", help="Name of the app; the whole host if omitted.", show_default=False, autocompletion=app_names
)
PROCESS = typer.Argument(
    "", metavar="TYPE", help="One of the process types of the app, such as worker; all if omitted.", show_default=False
)
JSON = typer.Option(False, "--json", help="Print JSON.")
JSON_LINES = typer.Option(False, "--json", help='Print one JSON object per event; the last event is "finished".')
NO_BLOCK = typer.Option(False, "--no-block", help="Do not wait until the rollout has finished.")
CANARY = typer.Option(
    "",
    "--canary",
    metavar="N|P%",
    help="Pause when N new instances, or enough for P% of new connections, are ready alongside the old ones.",
    show_default=False,
)
PREVIEW = typer.Option(False, "--preview", help="Wait first with one new instance that no client reaches.")
SUPERSEDE = typer.Option(False, "--supersede", help="Replace a rollout that is in progress.")
PAST_IRREVERSIBLE = typer.Option(
    False, "--past-irreversible", help="Roll back even past a generation that is marked irreversible."
)
RELEASE = typer.Option(
    "",
    "--release",
    metavar="DIR",
    help="Release directory to use instead of the one in the app file.",
    show_default=False,
)

FLEET = typer.Option(
    "",
    "--fleet",
    metavar="ID",
    help="The rollout of several hosts that this one is part of; the same ID attaches to it.",
    show_default=False,
)
TOKEN = typer.Option(
    0,
    "--token",
    metavar="N",
    help="Number that grows with each rollout of the fleet; refused if lower than the last one.",
    show_default=False,
)


def fleet_request(fleet: str, token: int) -> FleetRequest | None:
    """Return what --fleet and --token say, None without them. Raises BadParameter."""
    from deployd.model import fleet as fleets

    if not fleet and not token:
        return None
    if not fleet or not token:
        raise typer.BadParameter("--fleet ID and --token N belong together")
    if problem := fleets.problem(fleet, token):
        raise typer.BadParameter(problem)
    return fleets.FleetRequest(fleet, token)


def percentage(text: str, argument: str) -> float:
    """Return ``5%`` or ``0.5%`` as a fraction, 0 to 1. Raises BadParameter, which names the `argument`."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", text.strip())
    if found is None or float(found[1]) > 100:
        raise typer.BadParameter(
            f'"{text}" is not a percentage from 0% to 100%; examples: 5%, 0.5%', param_hint=argument
        )
    return float(found[1]) / 100


def seconds(text: str, argument: str) -> float:
    """Return ``15s``, ``500ms``, ``2min`` or ``1h`` in seconds. Raises BadParameter, which names the `argument`."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s|min|h|)", text.strip())
    if found is None:
        raise typer.BadParameter(f'"{text}" is not a time; examples: 500ms, 15s, 1min', param_hint=argument)
    return float(found[1]) * {"ms": 0.001, "": 1, "s": 1, "min": 60, "h": 3600}[found[2]]


def canary_of(text: str) -> float:
    """Return the value of --canary: an int is a number of instances, a float a fraction of new connections; 0: none."""
    if not text:
        return 0
    if re.fullmatch(r"[0-9]{1,4}", text) and int(text):
        return int(text)
    if text.endswith("%") and (fraction := percentage(text, "--canary")):
        return fraction
    raise typer.BadParameter(
        f'"{text}" is neither a number of instances (at least 1) nor a percentage above 0%; examples: 1, 5%',
        param_hint="--canary",
    )


def absolute(release: str) -> str:
    """Return an absolute path: the daemon has another working directory. The daemon resolves symbolic links later."""
    return str(Path(release).absolute()) if release else ""


def listen_address(text: str) -> str:
    """Return an address as app files have it: PORT, HOST:PORT, [V6]:PORT or an absolute path. Raises BadParameter."""
    import ipaddress

    host, colon, port = text.rpartition(":")
    try:
        if text.startswith("/") and not text.endswith("/") and text.isprintable() and len(text.encode()) <= 107:
            return text
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise ValueError
        if not colon:
            return str(int(port))
        in_brackets = host.startswith("[") and host.endswith("]")
        address = f"[{ipaddress.IPv6Address(host[1:-1])}]" if in_brackets else str(ipaddress.IPv4Address(host))
    except ValueError:
        raise typer.BadParameter(
            f'"{text}" is no address; examples: 8080, 127.0.0.1:8080, [::1]:8080, /run/app.sock', param_hint="--listen"
        ) from None
    return f"{address}:{int(port)}"
