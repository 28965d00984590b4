"""deployd check: validate app files."""

from __future__ import annotations

import typer

from deployd.errors import ExitStatus
from deployd_cli.options import APP_OR_ALL, JSON
from deployd_cli.output import message, show, show_json
from deployd_cli.text.plan import check_line, warning_lines
from deployd_cli.text.words import dicts_of


def check(app: str = APP_OR_ALL, as_json: bool = JSON) -> None:
    """Validate app files. Changes nothing."""
    from deployd_cli.session import run

    answer = run(lambda client: client.check(app))
    items = dicts_of(answer, "apps")
    verdicts = [check_line(item) for item in items]
    if as_json:
        show_json(answer)
    else:
        for valid, line in verdicts:
            if valid:
                show([line])
            else:
                message(line)
        for item in items:
            for warning in warning_lines(item):
                message(warning)
        if not verdicts:
            message("no app files")
    if not all(valid for valid, _ in verdicts):
        raise typer.Exit(ExitStatus.REFUSED)
