"""Replacement of an unusable history. The old database is kept under another name, never deleted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from deployd.state.database import SIBLINGS
from deployd.state.disk import Disk

TABLES = (
    ("apps", "name"),
    ("generations", "app"),
    ("rollouts", "app"),
    ("invocations", "app"),
    ("crashes", "app"),
    ("crash_log", "app"),
    ("probations", "app"),
    ("totals", "app"),
)
"""The tables, and the column that names the app."""


def replace(path: Path, made: sqlite3.Connection, disk: Disk) -> Path | None:
    """Replace the database at `path` by a copy of `made`; return the new path of the old one, None if there was none.

    If the daemon is killed meanwhile, the database is missing and can be repaired again. Raises OSError and
    sqlite3.Error.
    """
    new = path.with_name(f"{path.name}.new")
    for suffix in SIBLINGS:
        disk.remove(Path(f"{new}{suffix}"))
    _create(new)
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as copy:
        made.backup(copy)  # returns when the copy is on the disk
    aside = _aside(path)
    for suffix in reversed(SIBLINGS):  # the log first, because SQLite would apply it to the new database
        old = Path(f"{path}{suffix}")
        if old.is_symlink() or old.exists():
            disk.rename(old, Path(f"{aside}{suffix}"))
    disk.rename(new, path)
    disk.sync(path.parent)
    return aside if aside.is_symlink() or aside.exists() else None


def replace_rows(path: Path, db: sqlite3.Connection, made: sqlite3.Connection, apps: Iterable[str], disk: Disk) -> Path:
    """Replace the rows of `apps` in `db` by those in `made`; return the path of a copy of the original `db`.

    Raises OSError and sqlite3.Error.
    """
    aside = _aside(path)
    _create(aside)
    try:
        db.execute("VACUUM INTO ?", (str(aside),))
    except BaseException:
        disk.remove(aside)  # incomplete
        raise
    db.execute("BEGIN IMMEDIATE")
    try:
        for app in apps:
            for table, column in TABLES:
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (app,))  # noqa: S608 - names from above
                found = made.execute(f"SELECT * FROM {table} WHERE {column} = ?", (app,)).fetchall()  # noqa: S608
                if found:
                    places = ", ".join("?" * len(found[0]))
                    db.executemany(f"INSERT INTO {table} VALUES ({places})", found)  # noqa: S608
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    return aside


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _aside(path: Path) -> Path:
    """Return an unused name for the old database."""
    stem = f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    free = (path.with_name(name) for name in names if not any(path.parent.glob(f"{name}*")))
    return next(free)
