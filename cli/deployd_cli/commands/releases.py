"""deployd releases: the release directories that are needed, and those that may be deleted."""

from __future__ import annotations

import sys

from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json, width_of
from deployd_cli.text.releases import releases_lines


def releases(app: str = APP, as_json: bool = JSON) -> None:
    """Show which release directories may be deleted. Changes nothing.

    For each: which instances run it, whether a rollback may need it and whether it was changed.
    """
    from deployd_cli.session import run

    answer = run(lambda client: client.releases(app))
    if as_json:
        show_json(answer)
        return
    show(lines := releases_lines(answer, width=width_of(sys.stdout), paint=paint_for(sys.stdout)))
    if not lines:
        message(f"{app} has no release yet")
