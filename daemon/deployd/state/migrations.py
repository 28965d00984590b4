"""Migrations of the history: each turns a schema version into the next one.

A history is migrated when it is opened, in one transaction. Versions 1 and 2 were of unreleased deployds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from deployd.model.generation import Result
from deployd.state import rows, totals

Migration = Callable[[sqlite3.Connection], object]


def _count_totals(db: sqlite3.Connection) -> None:
    """Count what the history still has."""
    db.execute(totals.TABLE)
    db.execute(
        "INSERT INTO totals SELECT app, result, count(*), total(duration) FROM generations WHERE result != ?"
        " GROUP BY app, result",
        (Result.RUNNING,),
    )
    db.execute("INSERT INTO totals SELECT app, ?, count(*), 0.0 FROM crash_log GROUP BY app", (totals.CRASHES,))


def _add_fleets(db: sqlite3.Connection) -> None:
    """Give each generation the columns of a fleet. ALTER TABLE ADD COLUMN would leave another definition than a new
    history has."""
    db.execute("ALTER TABLE generations RENAME TO generations_4")
    db.execute(rows.GENERATIONS)
    columns = ", ".join(row[1] for row in db.execute("PRAGMA table_info(generations_4)"))
    db.execute(f"INSERT INTO generations ({columns}, fleet, token) SELECT {columns}, '', 0 FROM generations_4")  # noqa: S608 - our own names
    db.execute("DROP TABLE generations_4")


MIGRATIONS: dict[int, Migration] = {3: _count_totals, 4: _add_fleets}
"""By the version that each starts from, without a gap."""
OLDEST, VERSION = min(MIGRATIONS), max(MIGRATIONS) + 1


def version_of(db: sqlite3.Connection) -> int:
    """Return the schema version: PRAGMA user_version. It is 0 in a database that was never written."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> None:
    """Bring a history of version `OLDEST` or later up to date. Raises sqlite3.Error."""
    if version_of(db) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for version in range(version_of(db), VERSION):  # read again: another process may have migrated it
            MIGRATIONS[version](db)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def migrated(db: sqlite3.Connection) -> sqlite3.Connection:
    """Return `db`, or in its place an up-to-date copy in memory, for a history that cannot be written. Raises
    sqlite3.Error."""
    if version_of(db) == VERSION:
        return db
    copy = sqlite3.connect(":memory:", isolation_level=None)
    db.backup(copy)
    copy.text_factory = db.text_factory
    db.close()
    migrate(copy)
    return copy


def migrated_schema(db: sqlite3.Connection) -> sqlite3.Connection:
    """Return an empty history with the tables of `db`, brought up to date. Raises sqlite3.Error."""
    empty = sqlite3.connect(":memory:", isolation_level=None)
    for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND type IN ('table', 'index')"):
        empty.execute(sql)
    empty.execute(f"PRAGMA user_version = {version_of(db)}")
    migrate(empty)
    return empty
