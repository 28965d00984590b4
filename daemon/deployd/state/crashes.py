"""Rows of the crashes table: the crashes of instances, which the daemon must still know after a restart.

They apply to one boot of the machine; after a reboot all instances are started anyway, and the times have no meaning.
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
    """Store the crashes of an instance; one without crashes has no row."""
    if crashes.count:
        db.execute("INSERT OR REPLACE INTO crashes VALUES (?, ?, ?, ?)", (app, instance, boot, crashes.to_json()))
    else:
        db.execute("DELETE FROM crashes WHERE app = ? AND instance = ?", (app, instance))
