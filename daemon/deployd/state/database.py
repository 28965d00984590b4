"""The database file of the history: its checks, its schema version, its connections.

The checks use a read-only connection. When a connection that may write is closed, SQLite copies the log (-wal) into the
database, even if the log belongs to another one.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from deployd.state import crashes, probations, rows, totals
from deployd.state.migrations import OLDEST, VERSION, migrate, migrated_schema, version_of

APPLICATION_ID = 0x6465706C
"""PRAGMA application_id of a history: "depl"."""

BUSY = 0.02
"""Seconds to wait for the lock of another process. The wait blocks the event loop."""

SIBLINGS = ("", "-wal", "-shm", "-journal")
"""Suffixes of the database and of the files that SQLite keeps alongside it. There is no journal in WAL mode, and SQLite
would replay the journal of another database into this one."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Unfit(Exception):
    """The database cannot be used. The text completes a sentence that begins with the path."""


class Locked(Unfit):
    """Another process holds the lock."""

    def __init__(self) -> None:
        super().__init__("is locked by another process; end that process (see fuser(1)) and try again")


def is_locked(error: BaseException) -> bool:
    return _code(error) in _LOCKED


def is_damage(error: BaseException) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def inspect(path: Path, expected: bool) -> None:
    """Raise Unfit unless `path` is a history that this version can read, or may be created.

    If a history is `expected` (there are generations on disk), a missing or empty file is a loss, not a first start.
    """
    for suffix in SIBLINGS:
        _refuse_odd(Path(f"{path}{suffix}"))
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = None
    except OSError as error:
        raise Unfit(f"cannot be read ({error.strerror})") from error
    if not size:
        if expected:
            raise Unfit("is missing" if size is None else "is empty")
        return
    if expected and Path(f"{path}-journal").exists():
        raise Unfit("has the journal of another database next to it (history.sqlite-journal)")
    try:
        db = connect_reading(path)
        try:
            _refuse_other(db, expected)
        finally:
            db.close()
    except sqlite3.Error as error:
        if is_locked(error):
            raise Locked from error
        raise Unfit(f"{'is damaged' if is_damage(error) else 'cannot be read'} ({error})") from error


def _refuse_odd(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unfit(f"cannot be used: {path.name} cannot be checked ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise Unfit(f"cannot be used: {path.name} is {_KINDS.get(stat.S_IFMT(mode), 'not a file')}")


def _refuse_other(db: sqlite3.Connection, expected: bool) -> None:
    [identity], version = db.execute("PRAGMA application_id").fetchone(), version_of(db)
    if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] and not version:
        if expected:
            raise Unfit("is empty")
        return
    if identity != APPLICATION_ID:
        raise Unfit("is not a history written by this deployd")
    if not OLDEST <= version <= VERSION:
        by, remedy = ("a newer deployd", ": upgrade deployd") if version > VERSION else ("an unreleased deployd", "")
        raise Unfit(f"was written by {by} (schema version {version}; this one knows {VERSION}){remedy}")
    found = [str(text) for (text,) in db.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise Unfit(f"is damaged ({found[0].splitlines()[-1]})")
    if odd := sorted(_tables(in_memory()) - _tables(migrated_schema(db))):
        raise Unfit(f"is damaged (the table or index {odd[0][0]} is missing or was altered)")


def _tables(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Return the names and definitions of tables and indexes."""
    return set(db.execute("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL"))


def connect_reading(path: Path) -> sqlite3.Connection:
    """Open the database for reading, including its log, which may contain the latest commits.

    If the file system does not even allow the shared memory file of the log, immutable=1 reads the database alone,
    without locks.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY)
    try:
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        db.close()
        if is_locked(error) or is_damage(error):
            raise
        db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    db.text_factory = _text
    return db


def _text(raw: bytes) -> str:
    """Decode a value so that bytes which are not UTF-8 can be reported as damage of one app, not of the database."""
    return raw.decode(errors="surrogateescape")


def connect_writing(path: Path) -> sqlite3.Connection:
    """Open, create or migrate a database that passed `inspect`. Raises OSError and sqlite3.Error."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Settings contain the environment, which may contain secrets. SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY)
    db.text_factory = _text
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        _create_tables(db)
        migrate(db)
        # In a read-only directory all of the above succeeds if the tables exist already.
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def in_memory() -> sqlite3.Connection:
    """Return an empty history in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    _create_tables(db)
    return db


def _create_tables(db: sqlite3.Connection) -> None:
    """Make a history of an empty database, in one transaction."""
    if not version_of(db):
        tables = rows.TABLES + crashes.TABLES + probations.TABLE + totals.TABLE
        db.executescript(
            f"BEGIN IMMEDIATE; {tables} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {VERSION}; COMMIT;"
        )


def identity(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return the inodes of the database and its log, to notice that they were replaced while they are open."""
    return tuple(_inode(Path(f"{path}{suffix}")) for suffix in SIBLINGS[:2])


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
