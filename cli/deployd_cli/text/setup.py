"""What deployd setup has done, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from deployd.model import advice
from deployd.model.scope import Scope
from deployd_cli.setup.plan import Action
from deployd_cli.text.words import count

if TYPE_CHECKING:
    from deployd_cli.setup.installation import Outcome


def installed_lines(done: Outcome) -> list[str]:
    """Return where the files are, how many have changed, and what comes next."""
    changed = done.files(Action.CREATE, Action.UPDATE)
    removed = done.files(Action.REMOVE)
    lines = _by_directory(done.files(Action.CREATE, Action.UPDATE, Action.KEEP))
    files = f"{count(len(changed), 'file')} written" + (f", {count(len(removed), 'file')} removed" if removed else "")
    if done.first:
        return [*lines, f"{files}; deployd.service is enabled", f"next: {advice.deployd()} init APP"]
    return [*lines, f"{files}; deployd.service is restarted if it was running"]


def removed_lines(done: Outcome, scope: Scope, *, purge: bool) -> list[str]:
    """Return which files were removed, and what is left."""
    files = done.files(Action.REMOVE)
    left = f"app files in {scope.configuration}"
    if not purge:
        left += f", the history in {scope.state}, and apps, which keep running"
    if not scope.is_user:
        left += ", the users deployd-metrics and deployd-health"
    return [*_by_directory(files), f"{count(len(files), 'file')} removed; left: {left}"]


def notes(done: Outcome) -> list[str]:
    """Return what does not work as installed, and what to do."""
    lines = []
    if done.missing:
        lines.append(
            f"no manual page {', '.join(done.missing)}: install go-md2man, then run {advice.deployd()} setup again"
        )
    if done.hidden:
        lines.append(
            f"only root can use this deployd, because others cannot enter {done.hidden}; metrics and health checks do"
            " not work, either. Install it elsewhere (PIPX_HOME=/opt/pipx pipx install deployd), then run deployd setup"
            " from there"
        )
    if not done.lingers:
        lines.append(
            "apps run only while this user is logged in; to have them run from the boot on: loginctl enable-linger"
        )
    return lines


def document(done: Outcome) -> dict[str, Any]:
    """Return the JSON of setup."""
    return {
        "written": list(done.files(Action.CREATE, Action.UPDATE)),
        "unchanged": list(done.files(Action.KEEP)),
        "removed": list(done.files(Action.REMOVE)),
        "notes": notes(done),
    }


def _by_directory(files: Iterable[str]) -> Iterator[str]:
    directories: dict[str, list[str]] = {}
    for file in map(PurePosixPath, files):
        directories.setdefault(str(file.parent), []).append(file.name)
    for directory, names in directories.items():
        yield f"{directory}: {', '.join(names)}"
