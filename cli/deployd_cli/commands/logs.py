"""deployd logs: the journal of an app or of one of its generations."""

from __future__ import annotations

import os
import sys

import typer

from deployd.errors import DeploydError
from deployd_cli.options import APP, PROCESS

GENERATION = typer.Option(
    0, "--generation", "-g", min=1, metavar="GENERATION", help="Show only this generation.", show_default=False
)
FOLLOW = typer.Option(False, "--follow", "-f", help="Continue with new entries.")
LINES = typer.Option("", "--lines", "-n", metavar="N", help="Show only the newest N lines.", show_default=False)
SINCE = typer.Option(
    "", "--since", "-S", metavar="TIME", help="Show only entries from this time on.", show_default=False
)
UNTIL = typer.Option("", "--until", "-U", metavar="TIME", help="Show only entries up to this time.", show_default=False)
PRIORITY = typer.Option(
    "", "--priority", "-p", metavar="PRIORITY", help="Show only entries of this priority or higher.", show_default=False
)
GREP = typer.Option(
    "", "--grep", metavar="PATTERN", help="Show only entries that match the pattern.", show_default=False
)
OUTPUT = typer.Option("", "--output", "-o", metavar="FORMAT", help="The format of journalctl(1).", show_default=False)
JSON = typer.Option(False, "--json", help="Print journal entries as JSON, one per line.")


def logs(
    app: str = APP,
    process: str = PROCESS,
    generation: int = GENERATION,
    follow: bool = FOLLOW,
    lines: str = LINES,
    since: str = SINCE,
    until: str = UNTIL,
    priority: str = PRIORITY,
    grep: str = GREP,
    output: str = OUTPUT,
    as_json: bool = JSON,
) -> int:
    """Show the journal of an app. Changes nothing.

    Shows the output of its instances, or of those of process type TYPE, and what deployd and systemd logged about
    them. The options are those of journalctl(1).
    """
    from deployd_cli.session import run

    if lines and not lines.isdecimal():
        raise typer.BadParameter(f"{lines!r} is not a number of lines", param_hint="--lines")
    if output and as_json:
        raise typer.BadParameter("cannot be combined with --output; use one of them", param_hint="--json")
    matches = run(lambda client: client.log_matches(app, generation, process))
    given = {"since": since, "until": until, "priority": priority, "grep": grep}
    options = [f"--{name}={value}" for name, value in given.items() if value]
    options += ["--follow"] if follow else []
    sys.stdout.flush()
    if output or as_json:
        number = [f"--lines={lines}"] if lines else []
        _replace([f"--output={output or 'json'}", *number, *options, *matches])
    from deployd_cli.log_printer import LogPrinter

    return LogPrinter(app, [*options, *matches], int(lines) if lines else None, follow=follow).print()


def _replace(arguments: list[str]) -> None:
    """Run journalctl in place of this process."""
    from deployd_cli.chosen import Chosen

    try:
        os.execvp("journalctl", ["journalctl", *Chosen.scope.option, *arguments])  # noqa: S606
    except OSError as error:
        raise DeploydError(f"journalctl cannot be run: {error.strerror}") from error
