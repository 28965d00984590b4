"""Rows of the crashes table: what the daemon that comes next must know of instances that this one keeps down.

They are of one boot of the machine; after the next one everything is started anyway, and their times mean nothing.
"""

from __future__ import annotations

import sqlite3

from deployd.model.crashes import Crashes

TABLE = """
CREATE TABLE crashes (
    app TEXT NOT NULL, instance INTEGER NOT NULL, boot TEXT NOT NULL, crashes TEXT NOT NULL,
    PRIMARY KEY (app, instance)) STRICT;
"""

SELECT = "SELECT instance, crashes FROM crashes WHERE app = ? AND boot = ?"


def put(db: sqlite3.Connection, app: str, boot: str, instance: int, crashes: Crashes) -> None:
    """An instance without crashes has no row."""
    if crashes.count:
        db.execute("INSERT OR REPLACE INTO crashes VALUES (?, ?, ?, ?)", (app, instance, boot, crashes.to_json()))
    else:
        db.execute("DELETE FROM crashes WHERE app = ? AND instance = ?", (app, instance))
