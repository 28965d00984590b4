"""deployd releases: the release directories that are needed, and those that may be deleted."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import typer

from deployd.errors import DeploydError
from deployd.model import advice
from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json, width_of
from deployd_cli.text.releases import releases_lines

PRUNE = typer.Option(False, "--prune", help="Delete those that may be deleted, as the user who runs the command.")


def releases(app: str = APP, prune: bool = PRUNE, as_json: bool = JSON) -> None:
    """Show which release directories may be deleted, or delete them.

    For each: which instances run it, whether a rollback may need it and whether it was changed. Without --prune nothing
    is changed.
    """
    from deployd_cli.session import run

    answer = run(lambda client: client.releases(app))
    if prune:
        _prune(app, answer, as_json=as_json)
        return
    if as_json:
        show_json(answer)
        return
    show(lines := releases_lines(answer, width=width_of(sys.stdout), paint=paint_for(sys.stdout)))
    if not lines:
        message(f"{app} has no release yet")


def _prune(app: str, answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Delete what may be deleted. Raises DeploydError for what cannot be, once all of them were tried."""
    from deployd_cli.release_remover import delete_free

    deleted, problems = delete_free(answer)
    if not as_json:
        show([f"deleted {path}" for path in deleted])
    if as_json:
        show_json({"app": app, "deleted": deleted})
    elif not deleted and not problems:
        message(f"{app}: every release is needed, or is none of deployd's; see: {advice.deployd()} releases {app}")
    if problems:
        raise DeploydError("; ".join(problems))
