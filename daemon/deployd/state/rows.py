"""Rows of the history's tables: converts generations and rollouts to rows and back.

Reading raises one of :data:`UNREADABLE` for rows that this version did not write.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sqlite3
from typing import Any

from deployd.model.app import App
from deployd.model.failure import Failure
from deployd.model.generation import Cause, Entry, Generation, Result
from deployd.model.rollout import Hold, Pause, Phase, Rollout

GENERATIONS = """\
CREATE TABLE generations (
    app TEXT NOT NULL, number INTEGER NOT NULL, release TEXT NOT NULL, fingerprint TEXT NOT NULL, cause TEXT NOT NULL,
    result TEXT NOT NULL, reason TEXT NOT NULL, started REAL NOT NULL, finished REAL, replaced TEXT NOT NULL,
    adopted TEXT NOT NULL, origin INTEGER, contents TEXT NOT NULL, irreversible INTEGER NOT NULL, failure TEXT,
    duration REAL, settings TEXT NOT NULL, fleet TEXT NOT NULL, token INTEGER NOT NULL,
    PRIMARY KEY (app, number)) STRICT"""

TABLES = f"""
CREATE TABLE apps (name TEXT PRIMARY KEY, current INTEGER, last INTEGER NOT NULL) STRICT;
{GENERATIONS};
CREATE TABLE rollouts (
    app TEXT PRIMARY KEY, origin INTEGER, target INTEGER NOT NULL, phase TEXT NOT NULL, reason TEXT NOT NULL,
    aborted INTEGER NOT NULL, started REAL NOT NULL, passed TEXT NOT NULL, pause TEXT NOT NULL, holds TEXT NOT NULL,
    closing INTEGER NOT NULL, since REAL NOT NULL, began REAL NOT NULL, boot TEXT NOT NULL, weight TEXT) STRICT;
CREATE TABLE invocations (
    ordinal INTEGER PRIMARY KEY, app TEXT NOT NULL, generation INTEGER NOT NULL, instance INTEGER NOT NULL,
    invocation_id TEXT NOT NULL, boot REAL, UNIQUE (app, invocation_id)) STRICT;
CREATE INDEX invocations_of ON invocations (app, generation);
"""

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

_PAST = (
    "app, number, release, fingerprint, cause, result, reason, started, finished, origin, contents, irreversible,"
    " fleet, token"
)
PAST = f"SELECT {_PAST} FROM generations WHERE app = ?"  # noqa: S608
ENTRY = f"SELECT {_PAST}, replaced, adopted, failure, duration FROM generations WHERE app = ?"  # noqa: S608
GENERATION = f"SELECT {_PAST}, replaced, adopted, failure, duration, settings FROM generations WHERE app = ?"  # noqa: S608
ROLLOUT = (
    "SELECT origin, target, phase, reason, aborted, started, passed, pause, holds, closing, since, began, boot, weight"
    " FROM rollouts WHERE app = ?"
)

_CAUSES = {str(item): item for item in Cause}
_RESULTS = {str(item): item for item in Result}


def put_generation(db: sqlite3.Connection, generation: Generation) -> None:
    """Insert a new generation and mark its number as used."""
    db.execute(
        f"INSERT INTO generations ({_PAST}, replaced, adopted, failure, duration, settings)"  # noqa: S608 - columns from above
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            generation.app,
            generation.number,
            generation.release,
            generation.fingerprint,
            generation.cause,
            generation.result,
            generation.reason,
            generation.started,
            generation.finished,
            generation.origin,
            generation.contents,
            generation.irreversible,
            generation.fleet,
            generation.token,
            json.dumps(generation.replaced),
            json.dumps(generation.adopted),
            generation.failure.to_json() if generation.failure else None,
            generation.duration,
            generation.settings.to_json(),
        ),
    )
    db.execute(
        "INSERT INTO apps VALUES (?, NULL, ?) ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
        (generation.app, generation.number),
    )


def put_current(db: sqlite3.Connection, app: str, current: int | None) -> None:
    db.execute("UPDATE apps SET current = ? WHERE name = ?", (current, app))


def put_rollout(db: sqlite3.Connection, rollout: Rollout) -> None:
    db.execute(
        "INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (rollout.app, *rollout_row(rollout)),
    )


def rollout_row(rollout: Rollout) -> tuple[Any, ...]:
    """Return the row that :func:`rollout` reads."""
    return (
        rollout.origin,
        rollout.target,
        rollout.phase,
        rollout.reason,
        rollout.aborted,
        rollout.started,
        json.dumps(sorted(rollout.passed)),
        rollout.pause,
        json.dumps([dataclasses.asdict(hold) for hold in rollout.holds]),
        rollout.closing,
        rollout.since,
        rollout.began,
        rollout.boot,
        None if rollout.weight is None else json.dumps(rollout.weight),
    )


def past(row: tuple[Any, ...]) -> Entry:
    """Return an entry without `replaced`, `adopted`, `failure` and `duration`, on which no rollback depends."""
    return Entry(**_past(row))


def entry(row: tuple[Any, ...]) -> Entry:
    return Entry(**_past(row[:-4]), **_outcome(row[-4:]))


def generation(row: tuple[Any, ...]) -> Generation:
    return Generation(**_past(row[:-5]), **_outcome(row[-5:-1]), settings=_settings(row[-1]))


@functools.lru_cache(maxsize=64)
def _settings(text: str) -> App:
    """Return the settings of a row. Each turn of a control loop asks for those of the current generation."""
    return App.from_json(text)


def _past(row: tuple[Any, ...]) -> dict[str, Any]:
    app, number, release, fingerprint, cause, result, reason, started, finished, origin, *rest = row
    contents, irreversible, fleet, token = rest
    return {
        "app": app,
        "number": number,
        "release": release,
        "fingerprint": fingerprint,
        "cause": _CAUSES[cause],
        "result": _RESULTS[result],
        "reason": reason,
        "started": started,
        "finished": finished,
        "origin": origin,
        "contents": contents,
        "irreversible": bool(irreversible),
        "fleet": fleet,
        "token": token,
    }


def _outcome(row: tuple[Any, ...]) -> dict[str, Any]:
    replaced, adopted, failure, duration = row
    return {
        "replaced": _numbers(replaced),
        "adopted": _numbers(adopted),
        "failure": None if failure is None else Failure.from_json(failure),
        "duration": duration,
    }


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in json.loads(text)) if text != "[]" else ()


def rollout(app: str, row: tuple[Any, ...]) -> Rollout:
    origin, target, phase, reason, aborted, started, passed, pause, holds, closing, since, began, boot, weight = row
    return Rollout(
        app=app,
        origin=origin,
        target=target,
        phase=Phase(phase),
        reason=reason,
        aborted=bool(aborted),
        started=started,
        passed=frozenset(_numbers(passed)),
        pause=Pause(pause),
        holds=tuple(Hold(**hold) for hold in json.loads(holds)),
        closing=bool(closing),
        since=since,
        began=began,
        boot=boot,
        weight=None if weight is None else _weight(*json.loads(weight)),
    )


def _weight(generation: int, share: float) -> tuple[int, float]:
    return generation, share
