"""deployd run: a command in the live release, as the user of the app and with all its settings."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from deployd.errors import DeploydError
from deployd_cli.options import APP, absolute
from deployd_cli.text.words import text_of

if TYPE_CHECKING:
    from deployd.api import Client

COMMAND = typer.Argument(
    None, metavar="-- COMMAND [ARGUMENTS]", help="The command; that of the timer without one.", show_default=False
)
RELEASE = typer.Option(
    "", "--release", metavar="DIR", help="A release of another generation, with its settings.", show_default=False
)
PROCESS = typer.Option(
    "",
    "--process",
    metavar="NAME",
    help="Run it as this process type or timer, with its user, environment and limits.",
    show_default=False,
)
NO_TTY = typer.Option(False, "--no-tty", help="Pass standard input and output as they are, also on a terminal.")


def run(
    app: str = APP,
    command: list[str] | None = COMMAND,
    release: str = RELEASE,
    process: str = PROCESS,
    no_tty: bool = NO_TTY,
) -> None:
    """Run a command in the live release, as the user of the app.

    It has what an instance has: environment, credentials, limits, sandbox. On a terminal it gets one of its own. Its
    exit status is passed on, and it is stopped if this command ends.
    """
    from deployd_cli import session
    from deployd_cli.pseudo_terminal import PseudoTerminal

    argv = command or []
    if not argv and not process:
        raise typer.BadParameter("name the command after --, or a timer with --process")

    async def work(client: Client) -> Mapping[str, Any]:
        if no_tty or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return await client.run(app, argv, release=absolute(release), process=process)
        terminal = os.environ.get("TERM", "dumb")
        with PseudoTerminal() as pseudo:
            standard = dict.fromkeys(("stdin", "stdout", "stderr"), pseudo.slave)
            return await client.run(
                app, argv, release=absolute(release), process=process, **standard, terminal=terminal
            )

    raise typer.Exit(_exit_status(session.run(work)))


def _exit_status(result: Mapping[str, Any]) -> int:
    """Return the exit status as a shell has it. Raises DeploydError if there is none: the command was not run."""
    status, name = result.get("exit_status"), text_of(result, "signal")
    if isinstance(status, int):
        return status
    if name in signal.Signals.__members__:
        return 128 + signal.Signals[name]
    unit, why = text_of(result, "unit"), text_of(result, "result", "unknown")
    raise DeploydError(f"{unit} could not be run ({why}); see: journalctl -u {unit}")
