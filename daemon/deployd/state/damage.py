"""Checks of the rows of single apps: damage in one app must not affect the others."""

from __future__ import annotations

import sqlite3

from deployd.errors import StateError
from deployd.model.app import NAME
from deployd.model.crashes import Crashes
from deployd.model.generation import Generation, Result
from deployd.state import probations, rows
from deployd.state.records import Records
from deployd.state.shape import require_shape

APPS = "SELECT name FROM apps UNION SELECT app FROM generations UNION SELECT app FROM rollouts"


def apps(db: sqlite3.Connection) -> list[str]:
    """Return every app that has rows, without names that no app can have. Raises sqlite3.Error."""
    return sorted(name for (name,) in db.execute(APPS) if NAME.fullmatch(name))


def described(error: Exception) -> str:
    """Return a bounded and printable description of an error about a row, because the error may quote the row."""
    return f"{type(error).__name__}: {ascii(str(error))[1:-1][:100]}"


def damage(db: sqlite3.Connection, app: str, records: Records, *, whole: bool = False) -> str:
    """Return why the rows of `app` cannot be used, as the end of a sentence; "" if they can. Raises sqlite3.Error.

    Checks the rows that the daemon depends on or, with `whole`, all of them.
    """
    try:
        return _damage(db, app, records, whole)
    except rows.UNREADABLE as error:
        return f"has rows of {app} that cannot be read ({described(error)})"
    except StateError as error:
        return f"cannot be compared with the generations of {app} on disk ({error})"


def _damage(db: sqlite3.Connection, app: str, records: Records, whole: bool) -> str:
    row = db.execute("SELECT current, last FROM apps WHERE name = ?", (app,)).fetchone()
    current, last = row or (None, 0)
    past = {item.number: item for item in map(rows.past, db.execute(rows.PAST, (app,)))}
    for item in past.values():
        (item.release + item.fingerprint + item.reason + item.contents).encode()  # STRICT tables ensure the types
    if past and (row is None or max(past) > last or (current is not None and current not in past)):
        return f"has inconsistent rows of {app}"
    rollout = next((rows.rollout(app, found) for found in db.execute(rows.ROLLOUT, (app,))), None)
    if rollout is not None:
        require_shape(rollout)
        target, origin = past.get(rollout.target), rollout.origin
        if target is None or target.result is not Result.RUNNING or (origin is not None and origin not in past):
            return f"has a rollout of {app} that matches none of its generations"
    ends = () if rollout is None else (rollout.target, rollout.origin)
    for number in past if whole else {item for item in (current, *ends) if item is not None}:
        (found,) = map(rows.generation, db.execute(f"{rows.GENERATION} AND number = ?", (app, number)))
        require_shape(found)
        record = records.read(app, number)
        kept = (found.release, found.fingerprint) if record is None else (record.release, record.fingerprint)
        if found.settings.name != app or kept != (found.release, found.fingerprint):
            return f"disagrees with the record on disk about generation {number} of {app}"
    for (text,) in db.execute("SELECT crashes FROM crashes WHERE app = ?", (app,)):
        require_shape(Crashes.from_json(text))
    for row in db.execute(probations.SELECT, (app,)):
        require_shape(probations.probation(row))
    lacking = records.beyond(app, past, last)
    if lacking is None:
        return ""
    known = "" if records.read(app, lacking) else " without a readable record, so that a repair needs its app file"
    return f"lacks generation {lacking} of {app}, which is on disk{known}"


def readable(db: sqlite3.Connection, app: str) -> dict[int, Generation]:
    """Return the generations of `app` that can be read. Raises sqlite3.Error."""
    found: dict[int, Generation] = {}
    for row in db.execute(rows.GENERATION, (app,)):
        try:
            item = rows.generation(row)
            require_shape(item)
        except rows.UNREADABLE:
            continue
        if item.settings.name == app:
            found[item.number] = item
    return found
