"""Rows of the probations table: at most one for each app."""

from __future__ import annotations

import dataclasses
import sqlite3
from typing import Any

from deployd.model.probation import Probation

TABLE = """
CREATE TABLE probations (
    app TEXT PRIMARY KEY, generation INTEGER NOT NULL, origin INTEGER, stays TEXT NOT NULL, since REAL NOT NULL,
    began REAL NOT NULL, until REAL NOT NULL, boot TEXT NOT NULL, ends REAL NOT NULL, failed TEXT NOT NULL) STRICT;
"""

SELECT = "SELECT * FROM probations WHERE app = ?"


def probation(row: tuple[Any, ...]) -> Probation:
    return Probation(*row)


def put(db: sqlite3.Connection, app: str, found: Probation | None) -> None:
    """Store the probation of an app; None removes it."""
    if found is None:
        db.execute("DELETE FROM probations WHERE app = ?", (app,))
    else:
        places = ", ".join("?" * len(dataclasses.fields(found)))
        db.execute(f"INSERT OR REPLACE INTO probations VALUES ({places})", dataclasses.astuple(found))  # noqa: S608
