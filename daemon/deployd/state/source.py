"""Where the rows of the history come from: the database or, if it cannot be used, a stand-in rebuilt in memory.

An unusable database, or the unusable rows of a single app, are never written to. Readers get the rebuilt rows of the
stand-in instead without code of their own; writers get a StateError that says how to repair the database.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deployd.errors import Locked, Refused, StateError
from deployd.model import advice
from deployd.model.generation import Generation
from deployd.model.rollout import Rollout
from deployd.state import database, repair, rows, totals
from deployd.state.damage import apps, damage, readable
from deployd.state.database import Unfit
from deployd.state.disk import Disk
from deployd.state.migrations import migrated
from deployd.state.rebuild import rebuilt
from deployd.state.records import Found, Records

log = logging.getLogger(__name__)

FULL, NORMAL = "FULL", "NORMAL"


class Source:
    """The database at `path`, with the `records` of generations to rebuild it."""

    def __init__(self, path: Path, records: Records) -> None:
        self.path = path
        self._records = records
        self._db: sqlite3.Connection | None = None
        self._writable = False
        self._files: tuple[object, ...] = ()
        self._stand_in: sqlite3.Connection | None = None
        self.unfit: Unfit | None = None
        """Why the database cannot be used at all."""
        self.damaged: dict[str, str] = {}
        """Maps apps to the reason why their rows cannot be used."""
        self._replaced = False

    def open(self, known: Mapping[str, str] = MappingProxyType({})) -> None:
        """Open the database for writing, or else for reading; :meth:`trouble` returns what is wrong with it.

        `known` is damage found by :meth:`examine`, which checks more than the rows that the daemon depends on.
        """
        self.close()
        try:
            database.inspect(self.path, expected=self._expected())
            self._db = self._connect()
            self.damaged = self._damage(self._db) | dict(known)
        except Unfit as unfit:
            self._give_up(unfit)
        except sqlite3.Error as error:
            self._give_up(database.Locked() if database.is_locked(error) else Unfit(f"is damaged ({error})"))
        except StateError as error:
            self._give_up(Unfit(f"cannot be compared with the generations on disk ({error})"))
        if self.unfit is not None or self.damaged:
            self._stand_in = self._rebuild()
        self._keep_records()

    def examine(self) -> dict[str, str]:
        """Check every row and return the damage by app. This takes time and may run in another thread."""
        if self.unfit is not None:
            return {}
        try:
            database.inspect(self.path, expected=True)  # it may be a FIFO by now
            with contextlib.closing(database.connect_reading(self.path)) as db:
                return self._damage(db, whole=True)
        except (Unfit, sqlite3.Error, StateError):
            return {}  # `open` finds the same

    def _damage(self, db: sqlite3.Connection, *, whole: bool = False) -> dict[str, str]:
        names = sorted({*apps(db), *self._records.apps()})
        return {app: found for app in names if (found := damage(db, app, self._records, whole=whole))}

    def close(self) -> None:
        for db in (self._db, self._stand_in):
            if db is not None:
                db.close()
        self._db, self._stand_in, self._writable, self._files = None, None, False, ()
        self.unfit, self.damaged = None, {}

    @property
    def locked(self) -> bool:
        """True if the database is unusable only because another process holds its lock."""
        return isinstance(self.unfit, database.Locked)

    def trouble(self, app: str = "") -> str:
        """Return why the history (of `app`) cannot be used and what to do about it; "" if it can be used."""
        if self.unfit is not None:
            return self.sentence(str(self.unfit), repairable=not self.locked)
        found = self.damaged.get(app, "")
        return found and self.sentence(found)

    def sentence(self, what: str, *, repairable: bool = True) -> str:
        """Return a sentence of the path, `what` is wrong with the database and what to do."""
        remedy = f"run {advice.deployd()} repair to rebuild it from the generations on disk, or restore a backup"
        return f"{self.path} {what}; {remedy}" if repairable else f"{self.path} {what}"

    def refresh(self) -> bool:
        """Reopen an unusable or replaced database; return True if readers may see other rows than before."""
        before = self.unfit and str(self.unfit), dict(self.damaged)
        if self._replaced or before != (None, {}) or self._moved():
            moved = self._replaced or self._moved()
            self._replaced = False
            self.open()
            return moved or before != (self.unfit and str(self.unfit), self.damaged)
        return False

    def apps(self) -> list[str]:
        """Return the apps that have usable or rebuilt rows."""
        try:
            known = [] if self.unfit is not None else apps(self._require())
            return sorted({*known, *(apps(self._stand_in) if self._stand_in is not None else ())})
        except sqlite3.Error as error:
            raise StateError(self.sentence(f"cannot be read ({error})")) from error

    def read(self, app: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query about `app`. Raises StateError."""
        try:
            return self._of(app).execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            if not database.is_damage(error) or self.unfit is not None:
                raise self._refusal("read", error) from error
            self._lose(error)
        return self.read(app, query, *parameters)

    @contextlib.contextmanager
    def write(self, app: str, synchronous: str = FULL) -> Iterator[sqlite3.Connection]:
        """Run one transaction about `app`. Raises StateError if nothing was changed."""
        if self._db is not None and self._writable and self._moved():
            self._lose()
            raise StateError(self.trouble(app) or f"{self.path} was replaced while deployd was running; try again")
        if trouble := self.trouble(app):
            raise StateError(trouble)
        try:
            if not self._writable:
                self._open_for_writing()
            db = self._require()
            db.execute(f"PRAGMA synchronous={synchronous}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        except (OSError, sqlite3.Error) as error:
            if database.is_damage(error):
                self._lose(error)
            raise self._refusal("written", error, "; nothing was changed") from error

    def record(self, app: str, number: int, rollout: Rollout | None = None) -> None:
        """Update the record of a generation from its row. A failure is only logged, because the row is committed."""
        for row in self.read(app, f"{rows.GENERATION} AND number = ?", app, number):
            self._keep(rows.generation(row), rollout)

    def repair(self, known: Mapping[str, str]) -> tuple[Path | None, frozenset[str]]:
        """Replace unusable rows, including those with `known` damage, by the rebuilt ones.

        Return the new path of the old database and the apps that were rebuilt. Raises Refused if the history is in
        order, and StateError.
        """
        self.open(known)
        if self._stand_in is None:
            raise Refused(f"{self.path} is in order; there is nothing to repair")
        apps_ = frozenset(apps(self._stand_in))
        if self.locked:
            raise StateError(self.trouble())
        try:
            if self.unfit is not None:
                aside = repair.replace(self.path, self._stand_in, Disk())
            else:
                aside = repair.replace_rows(self.path, self._require(), self._stand_in, self.damaged, Disk())
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{self.path} cannot be repaired: {error}") from error
        self.open()
        return aside, apps_

    def _connect(self) -> sqlite3.Connection:
        try:
            self._open_for_writing()
        except (OSError, sqlite3.Error) as error:
            if not self.path.exists():
                raise Unfit(f"cannot be created ({error}), but the daemon keeps its state there") from error
            self._db = migrated(database.connect_reading(self.path))
        return self._require()

    def _open_for_writing(self) -> None:
        db = database.connect_writing(self.path)
        if self._db is not None:
            self._db.close()
        self._db, self._writable, self._files = db, True, database.identity(self.path)

    def _moved(self) -> bool:
        """True if the open files were removed or replaced."""
        return self._writable and database.identity(self.path) != self._files

    def _lose(self, error: Exception | None = None) -> None:
        """Reopen the database after its files were replaced or SQLite found damage (`error`)."""
        self.open()
        self._replaced = True
        if error is not None and self.unfit is None:
            self._give_up(Unfit(f"is damaged ({error})"))
            self._stand_in = self._rebuild()

    def _expected(self) -> bool:
        """True if generations on disk prove that there was a history."""
        for app in self._records.apps():
            try:
                if self._records.beyond(app, (), 0) is not None:
                    return True
            except StateError:
                return True  # unknown, and treating the database as new would be worse
        return False

    def _give_up(self, unfit: Unfit) -> None:
        if self._db is not None:
            self._db.close()
        self._db, self._writable, self.damaged, self.unfit = None, False, {}, unfit

    def _rebuild(self) -> sqlite3.Connection:
        """Return a history of the apps whose rows are unusable, from records, pins and their readable rows."""
        db = database.in_memory()
        for app in self.damaged or (self._on_disk() if self.unfit is not None else ()):
            try:
                found = self._records.found(app)
                own = readable(self._db, app) if self._db is not None else {}
            except (StateError, sqlite3.Error) as error:
                log.warning("%s: the generations on disk cannot be read: %s", app, error)
                found, own = Found((), None, frozenset(), 0), {}
            known = {item.number: item for item in found.generations} | own
            made = rebuilt(known.values(), found.rollout, found.pinned, found.last)
            for item in made.generations:
                rows.put_generation(db, item)
            totals.add_rebuilt(db, made.generations)
            db.execute("INSERT INTO apps VALUES (?, NULL, ?) ON CONFLICT DO NOTHING", (app, made.last))
            db.execute("UPDATE apps SET current = ?, last = ? WHERE name = ?", (made.current, made.last, app))
            if made.rollout is not None:
                rows.put_rollout(db, made.rollout)
        return db

    def _on_disk(self) -> list[str]:
        try:
            return self._records.apps()
        except StateError as error:
            log.warning("%s", error)
            return []

    def _keep_records(self) -> None:
        """Write missing records of current generations, after a failed write or a daemon that was killed."""
        for app in set(self.apps()) - self.damaged.keys() if self._writable else ():
            current = self._require().execute("SELECT current FROM apps WHERE name = ?", (app,)).fetchone()
            for row in self._require().execute(f"{rows.GENERATION} AND number = ?", (app, *(current or (0,)))):
                generation = rows.generation(row)
                if self._records.read(app, generation.number) != generation:
                    self._keep(generation)

    def _keep(self, generation: Generation, rollout: Rollout | None = None) -> None:
        try:
            self._records.write(generation, rollout)
        except StateError as error:
            log.warning("%s", error)

    def _of(self, app: str) -> sqlite3.Connection:
        if self._stand_in is not None and (self.unfit is not None or app in self.damaged):
            return self._stand_in
        return self._require()

    def _require(self) -> sqlite3.Connection:
        if self._db is None:
            raise StateError(f"{self.path} is not open")
        return self._db

    def _refusal(self, done: str, error: Exception, effect: str = "") -> StateError:
        if database.is_locked(error):
            return Locked(f"{self.path} {database.Locked()}{effect}")
        return StateError(f"{self.path} cannot be {done}: {error}{effect}")
