"""The file of the history: whether it is fit to be opened, which version it has, how it is opened.

What is not fit is looked at without being written, not even by SQLite itself: closing a database that was opened for
writing copies a log beside it into it, whosever log that is.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from deployd.state import crashes, rows

APPLICATION_ID = 0x6465706C
"""PRAGMA application_id of a history: "depl"."""

MIGRATIONS: tuple[str, ...] = (rows.TABLES + crashes.TABLE,)
"""What makes version N (PRAGMA user_version) of version N - 1, in one transaction. Only ever appended to."""

BUSY = 0.02
"""Seconds to wait for another process's lock: the daemon waits with all its apps."""

SIBLINGS = ("", "-wal", "-shm", "-journal")
"""The database, and what SQLite keeps beside it. In WAL mode there is no journal; one of another database would be
played back into this one."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Unfit(Exception):
    """The database cannot be used: says why, as the end of a sentence that begins with its path."""


class Locked(Unfit):
    """Another process has it, for now."""

    def __init__(self) -> None:
        super().__init__("is locked by another process; end that process (fuser(1) names it) and try again")


def is_locked(error: BaseException) -> bool:
    return _code(error) in _LOCKED


def is_damage(error: BaseException) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def inspect(path: Path, expected: bool) -> None:
    """Raise Unfit unless `path` is a history that this version can read, or may be made.

    `expected`: something on the disk tells that there was one, so that a missing or empty file is a loss.
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
        raise Unfit("has the journal of another database beside it (history.sqlite-journal)")
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
        raise Unfit(f"cannot be used: {path.name} cannot be looked at ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise Unfit(f"cannot be used: {path.name} is {_KINDS.get(stat.S_IFMT(mode), 'no file')}")


def _refuse_other(db: sqlite3.Connection, expected: bool) -> None:
    [identity], [version] = (db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] and not version:
        if expected:
            raise Unfit("is empty")
        return
    if identity != APPLICATION_ID:
        raise Unfit("is not a history that this deployd wrote")
    if version > len(MIGRATIONS):
        raise Unfit(
            f"was written by a newer deployd (version {version}; this one knows {len(MIGRATIONS)}): install that one"
        )
    found = [str(text) for (text,) in db.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise Unfit(f"is damaged ({found[0].splitlines()[-1]})")
    if version == len(MIGRATIONS) and (odd := sorted(_tables(in_memory()) - _tables(db))):
        raise Unfit(f"is damaged (the table or index {odd[0][0]} is missing or was altered)")


def _tables(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Names of tables and indexes, and how each is made; what somebody added does no harm."""
    return set(db.execute("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL"))


def connect_reading(path: Path) -> sqlite3.Connection:
    """What was committed last may be in the log only, so read that too, unless the file system forbids even the shared
    memory file that goes with it: then immutable=1 reads the database alone, without any lock."""
    uri = f"file:{quote(str(path))}?mode=ro"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY)
    try:
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        db.close()
        if is_locked(error) or is_damage(error):
            raise
        db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return db


def connect_writing(path: Path) -> sqlite3.Connection:
    """Open what `inspect` found fit, or make it; bring it to this version. Raises OSError and sqlite3.Error."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Settings hold the environment, and that may hold secrets; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        migrate(db)
        # A read-only directory lets all of the above pass when the tables are there already.
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def in_memory() -> sqlite3.Connection:
    """An empty history that is on no disk."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    return db


def migrate(db: sqlite3.Connection) -> None:
    """Bring a history of an older version, or an empty database, to this one."""
    [version] = db.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(
            f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {number}; COMMIT;"
        )


def identity(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Which files the database and its log are: others under the same names are not those that are open."""
    return tuple(_inode(Path(f"{path}{suffix}")) for suffix in SIBLINGS[:2])


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
