"""Rows of two tables: the crash loop of each instance, and a log of single crashes.

They apply to one boot of the machine; after a reboot all instances are started anyway, and the times have no meaning.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from deployd.model.crashes import Crash, Crashes

TABLES = """
CREATE TABLE crashes (
    app TEXT NOT NULL, instance INTEGER NOT NULL, boot TEXT NOT NULL, crashes TEXT NOT NULL,
    PRIMARY KEY (app, instance)) STRICT;
CREATE TABLE crash_log (
    ordinal INTEGER PRIMARY KEY, app TEXT NOT NULL, boot TEXT NOT NULL, instance INTEGER NOT NULL,
    generation INTEGER NOT NULL, at REAL NOT NULL, why TEXT NOT NULL, invocation TEXT NOT NULL) STRICT;
"""

LOGGED = 1000
"""Crashes kept per app, the newest ones."""

SELECT_LOGGED = "SELECT instance, generation, at, why, invocation FROM crash_log WHERE app = ? AND boot = ?"
SELECT_ELSEWHERE = (
    "SELECT app, at FROM crash_log WHERE app != ? AND boot = ?"
    " AND app NOT IN (SELECT app FROM probations WHERE failed = '')"
)
"""Crashes of the other apps, except those whose new generation may be the reason."""

SELECT = "SELECT instance, crashes FROM crashes WHERE app = ? AND boot = ?"


def put(db: sqlite3.Connection, app: str, boot: str, instance: int, crashes: Crashes) -> None:
    """Store the crashes of an instance; one without a past has no row."""
    if crashes.matters:
        db.execute("INSERT OR REPLACE INTO crashes VALUES (?, ?, ?, ?)", (app, instance, boot, crashes.to_json()))
    else:
        db.execute("DELETE FROM crashes WHERE app = ? AND instance = ?", (app, instance))


def log(db: sqlite3.Connection, app: str, boot: str, crashes: Iterable[Crash]) -> None:
    """Add crashes to the log, and remove those of other boots, whose times have no meaning any more."""
    db.executemany(
        "INSERT INTO crash_log (app, boot, instance, generation, at, why, invocation) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(app, boot, item.instance, item.generation, item.at, item.why, item.invocation) for item in crashes],
    )
    db.execute("DELETE FROM crash_log WHERE app = ? AND boot != ?", (app, boot))
    db.execute(
        "DELETE FROM crash_log WHERE app = ?1 AND ordinal <= (SELECT max(ordinal) FROM crash_log WHERE app = ?1) - ?2",
        (app, LOGGED),
    )
