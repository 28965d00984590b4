"""deployd units: the units that would be generated."""

from __future__ import annotations

import sys

import typer

from deployd_cli.options import APP, JSON
from deployd_cli.output import paint_for, show, show_json
from deployd_cli.text.units import diff_lines, unit_lines

DIFF = typer.Option(False, "--diff", help="Print a unified diff against the installed units.")


def units(app: str = APP, diff: bool = DIFF, as_json: bool = JSON) -> None:
    """Print the units that would be generated for an app. Changes nothing."""
    from deployd_cli.session import run

    answer = run(lambda client: client.units(app))
    if as_json:
        show_json(answer)
    else:
        show((diff_lines if diff else unit_lines)(answer, paint_for(sys.stdout)))
