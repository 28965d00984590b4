"""deployd logs: the journal, of an app or of one of its generations."""

from __future__ import annotations

import os
import sys

import typer

from deployd.errors import DeploydError
from deployd_cli.options import APP

GENERATION = typer.Option(
    0, "--generation", "-g", min=1, metavar="GENERATION", help="Only this one.", show_default=False
)
FOLLOW = typer.Option(False, "--follow", "-f", help="Go on with what is being logged.")
LINES = typer.Option("", "--lines", "-n", metavar="N", help="Only the newest N lines.", show_default=False)
JSON = typer.Option(False, "--json", help="Print the journal's entries as JSON, one a line.")


def logs(
    app: str = APP, generation: int = GENERATION, follow: bool = FOLLOW, lines: str = LINES, as_json: bool = JSON
) -> None:
    """Show the app's journal. Changes nothing.

    That is what its instances wrote, and what deployd wrote about them.
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
