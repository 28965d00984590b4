"""Rows of the history's tables: how a generation and a rollout are written down and read back."""

from __future__ import annotations

import dataclasses
import json
import sqlite3

from deployd.model.app import App
from deployd.model.failure import Failure
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Hold, Pause, Phase, Rollout

SCHEMA = """
CREATE TABLE IF NOT EXISTS apps (name TEXT PRIMARY KEY, current INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
    app TEXT NOT NULL, number INTEGER NOT NULL, release TEXT NOT NULL, settings TEXT NOT NULL,
    fingerprint TEXT NOT NULL, cause TEXT NOT NULL, result TEXT NOT NULL, reason TEXT NOT NULL,
    started REAL NOT NULL, finished REAL, replaced TEXT NOT NULL, adopted TEXT NOT NULL, origin INTEGER,
    contents TEXT NOT NULL, irreversible INTEGER NOT NULL, failure TEXT,
    PRIMARY KEY (app, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollouts (
    app TEXT PRIMARY KEY, origin INTEGER, target INTEGER NOT NULL, phase TEXT NOT NULL, reason TEXT NOT NULL,
    aborted INTEGER NOT NULL, started REAL NOT NULL, passed TEXT NOT NULL, pause TEXT NOT NULL,
    holds TEXT NOT NULL, closing INTEGER NOT NULL, since REAL NOT NULL, boot TEXT NOT NULL,
    weight TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS invocations (
    app TEXT NOT NULL, generation INTEGER NOT NULL, instance INTEGER NOT NULL, invocation_id TEXT NOT NULL,
    boot REAL, ordinal INTEGER NOT NULL, PRIMARY KEY (app, invocation_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ordinals ON invocations (ordinal);
"""

GENERATIONS = (
    "SELECT app, number, release, settings, fingerprint, cause, result, reason, started, finished, replaced, adopted,"
    " origin, contents, irreversible, failure FROM generations WHERE app = ?"
)
ROLLOUT = (
    "SELECT origin, target, phase, reason, aborted, started, passed, pause, holds, closing, since, boot, weight"
    " FROM rollouts WHERE app = ?"
)

ADDED = (("rollouts", "weight", "TEXT"),)
"""Columns that tables of an older deployd lack: table, column, type."""


def upgrade(db: sqlite3.Connection) -> None:
    """Give the tables that are there the columns they lack."""
    for table, column, kind in ADDED:
        if column not in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def put_generation(db: sqlite3.Connection, generation: Generation) -> None:
    db.execute(
        "INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            generation.app,
            generation.number,
            generation.release,
            generation.settings.to_json(),
            generation.fingerprint,
            generation.cause,
            generation.result,
            generation.reason,
            generation.started,
            generation.finished,
            json.dumps(generation.replaced),
            json.dumps(generation.adopted),
            generation.origin,
            generation.contents,
            generation.irreversible,
            generation.failure.to_json() if generation.failure else None,
        ),
    )


def put_rollout(db: sqlite3.Connection, rollout: Rollout) -> None:
    db.execute(
        "INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            rollout.app,
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
            rollout.boot,
            None if rollout.weight is None else json.dumps(rollout.weight),
        ),
    )


def generation(row: tuple[object, ...]) -> Generation:
    app, number, release, settings, fingerprint, cause, result, reason, started, finished, *rest = row
    replaced, adopted, origin, contents, irreversible, failure = rest
    return Generation(
        app=str(app),
        number=int(number),  # type: ignore[call-overload]
        release=str(release),
        settings=App.from_json(str(settings)),
        fingerprint=str(fingerprint),
        cause=Cause(str(cause)),
        result=Result(str(result)),
        reason=str(reason),
        started=float(started),  # type: ignore[arg-type]
        finished=None if finished is None else float(finished),  # type: ignore[arg-type]
        replaced=tuple(json.loads(str(replaced))),
        adopted=tuple(json.loads(str(adopted))),
        origin=origin,  # type: ignore[arg-type]
        contents=str(contents),
        irreversible=bool(irreversible),
        failure=None if failure is None else Failure.from_json(str(failure)),
    )


def rollout(app: str, row: tuple[object, ...]) -> Rollout:
    origin, target, phase, reason, aborted, started, passed, pause, holds, closing, since, boot, weight = row
    return Rollout(
        app=app,
        origin=origin,  # type: ignore[arg-type]
        target=int(target),  # type: ignore[call-overload]
        phase=Phase(str(phase)),
        reason=str(reason),
        aborted=bool(aborted),
        started=float(started),  # type: ignore[arg-type]
        passed=frozenset(json.loads(str(passed))),
        pause=Pause(str(pause)),
        holds=tuple(Hold(**hold) for hold in json.loads(str(holds))),
        closing=bool(closing),
        since=float(since),  # type: ignore[arg-type]
        boot=str(boot),
        weight=None if weight is None else _weight(*json.loads(str(weight))),
    )


def _weight(generation: int, share: float) -> tuple[int, float]:
    return generation, share
