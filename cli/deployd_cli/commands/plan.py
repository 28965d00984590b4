"""deployd plan: the dry run."""

from __future__ import annotations

import sys

from deployd_cli.options import APP, CANARY, JSON, PREVIEW, RELEASE, absolute, canary_of
from deployd_cli.output import paint_for, show, show_json
from deployd_cli.text.plan import plan_lines


def plan(
    app: str = APP, release: str = RELEASE, canary: str = CANARY, preview: bool = PREVIEW, as_json: bool = JSON
) -> None:
    """Show what a rollout would do. Changes nothing.

    Prints what the app file changes, every action and pause in order, and the lowest number of ready instances on
    the way.
    """
    from deployd_cli.session import run

    first = canary_of(canary)
    answer = run(lambda client: client.plan(app, release=absolute(release), canary=first, preview=preview))
    if as_json:
        show_json(answer)
    else:
        show(plan_lines(answer, paint_for(sys.stdout)))
