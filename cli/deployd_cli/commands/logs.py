"""deployd logs: the journal of an app or of one of its generations."""

from __future__ import annotations

import os
import sys

import typer

from deployd.errors import DeploydError
from deployd_cli.options import APP

GENERATION = typer.Option(
    0, "--generation", "-g", min=1, metavar="GENERATION", help="Show only this generation.", show_default=False
)
FOLLOW = typer.Option(False, "--follow", "-f", help="Continue with new entries.")
LINES = typer.Option("", "--lines", "-n", metavar="N", help="Show only the newest N lines.", show_default=False)
JSON = typer.Option(False, "--json", help="Print journal entries as JSON, one per line.")


def logs(
    app: str = APP, generation: int = GENERATION, follow: bool = FOLLOW, lines: str = LINES, as_json: bool = JSON
) -> None:
    """Show the journal of an app. Changes nothing.

    Shows the output of its instances and what deployd logged about them.
    """
    from deployd_cli.session import run

    if lines and not lines.isdecimal():
        raise typer.BadParameter(f"{lines!r} is not a number of lines", param_hint="--lines")
    matches = run(lambda client: client.log_matches(app, generation))
    argv = ["journalctl", *(["--follow"] if follow else []), *([f"--lines={lines}"] if lines else [])]
    argv += [*(["--output=json"] if as_json else []), *matches]
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        raise DeploydError(f"journalctl cannot be run: {error.strerror}") from error
