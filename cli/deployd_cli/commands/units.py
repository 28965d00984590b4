"""deployd units: the units and the generation that the app file would make."""

from __future__ import annotations

import sys

import typer

from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json
from deployd_cli.text.units import diff_lines, unit_lines
from deployd_cli.text.words import text_of

DIFF = typer.Option(False, "--diff", help="Print a unified diff against what is installed.")


def units(app: str = APP, diff: bool = DIFF, as_json: bool = JSON) -> None:
    """Print the units and files that the app file would make. Changes nothing."""
    from deployd_cli.session import run

    answer = run(lambda client: client.units(app))
    if as_json:
        show_json(answer)
    else:
        show((diff_lines if diff else unit_lines)(answer, paint_for(sys.stdout)))
        if error := text_of(answer, "files_error"):
            message(f"{app}: without the files of the generation: {error}")
