"""Rows of the totals table: how often something has happened to an app since it was first deployed.

Generations are pruned, and their crashes with the boot of the machine; a counter of monitoring must not go down then.
A repair counts again what it has found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from deployd.model.generation import Entry, Result

TABLE = """
CREATE TABLE totals (
    app TEXT NOT NULL, what TEXT NOT NULL, count INTEGER NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (app, what)) STRICT;
"""

CRASHES = "crashes"
"""The `what` of crashes; that of rollouts is their result."""

SELECT = "SELECT what, count, seconds FROM totals WHERE app = ?"


@dataclass(frozen=True, slots=True)
class Total:
    """How often something has happened, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0


def add(db: sqlite3.Connection, app: str, what: str, count: int = 1, seconds: float = 0.0) -> None:
    """Count what has happened, `seconds` in all."""
    db.execute(
        "INSERT INTO totals VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count, seconds = seconds + excluded.seconds",
        (app, what, count, seconds),
    )


def add_rebuilt(db: sqlite3.Connection, generations: Iterable[Entry]) -> None:
    """Count the rollouts of the generations that a repair has found."""
    for item in generations:
        if item.result is not Result.RUNNING:
            add(db, item.app, item.result, seconds=item.duration or 0.0)
