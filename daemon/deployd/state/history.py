"""The history of generations and the rollout under way, in SQLite; the daemon's only memory.

WAL mode: a transaction is there whole or not at all, whatever happens at whatever instant (sqlite.org/wal.html).
What decides (a rollout begins, turns, ends) is committed with synchronous=FULL and survives power loss; progress
that can be observed anew (which instances have passed) is committed with NORMAL, which saves an fsync per instance.
A database that cannot be written is still read, so that `status` and `history` tell what was.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from deployd.errors import StateError
from deployd.model.app import App
from deployd.model.crashes import Crashes
from deployd.model.failure import Failure
from deployd.model.generation import Generation, Result
from deployd.model.rollout import Rollout
from deployd.state import crashes, rows

FULL, NORMAL = "FULL", "NORMAL"


class History:
    """The database in `directory`. Every method raises StateError when it cannot be read or written."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "history.sqlite"
        self._db: sqlite3.Connection | None = None
        self._writable = False

    def open(self) -> None:
        """Open for writing, or, when that is impossible, for reading what is there."""
        try:
            self._open_for_writing()
        except (OSError, sqlite3.Error) as error:
            if not self.path.exists():
                raise StateError(f"{self.path}: {error}; the daemon keeps its state there") from error
            self._db = self._open_for_reading()

    def _open_for_reading(self) -> sqlite3.Connection:
        """What was committed last may be in the log only, so read that too, unless the file system forbids even the
        shared memory file that goes with it: then immutable=1 reads the database alone, without any lock."""
        db = sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True, isolation_level=None)
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error:
            db.close()
            db = sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro&immutable=1", uri=True, isolation_level=None)
        return db

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db, self._writable = None, False

    def _open_for_writing(self) -> None:
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Settings hold the environment, and that may hold secrets; SQLite gives its other files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(rows.SCHEMA + crashes.SCHEMA)
            rows.upgrade(db)
            # A read-only directory lets all of the above pass when the tables are there already.
            db.execute("BEGIN IMMEDIATE")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        if self._db is not None:
            self._db.close()
        self._db, self._writable = db, True

    @contextlib.contextmanager
    def _write(self, synchronous: str = FULL) -> Iterator[sqlite3.Connection]:
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
            raise StateError(f"{self.path} cannot be written: {error}; nothing was changed") from error

    def require_writable(self) -> None:
        """Raise StateError if nothing could be written now."""
        self.crashed("", "", {})

    def _require(self) -> sqlite3.Connection:
        if self._db is None:
            raise StateError(f"{self.path} is not open")
        return self._db

    def _read(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        try:
            return self._require().execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise StateError(f"{self.path} cannot be read: {error}") from error

    # What was and is.

    def apps(self) -> list[str]:
        """Names of all apps that ever had a generation and were not removed."""
        return [str(name) for (name,) in self._read("SELECT DISTINCT app FROM generations ORDER BY app")]

    def current(self, app: str) -> int | None:
        """The generation the app is at: the last whose rollout succeeded."""
        found = self._read("SELECT current FROM apps WHERE name = ?", app)
        return found[0][0] if found else None  # type: ignore[return-value]

    def next_number(self, app: str) -> int:
        found = self._read("SELECT coalesce(max(number), 0) + 1 FROM generations WHERE app = ?", app)
        return int(found[0][0])  # type: ignore[call-overload, no-any-return]

    def generations(self, app: str) -> list[Generation]:
        """Newest first."""
        return [rows.generation(row) for row in self._read(f"{rows.GENERATIONS} ORDER BY number DESC", app)]

    def generation(self, app: str, number: int) -> Generation | None:
        found = self._read(f"{rows.GENERATIONS} AND number = ?", app, number)
        return rows.generation(found[0]) if found else None

    def settings(self, app: str, number: int) -> App | None:
        """The settings of a generation."""
        generation = self.generation(app, number)
        return generation.settings if generation is not None else None

    def releases(self, app: str) -> dict[int, str]:
        """Generation to its release directory."""
        return dict(self._read("SELECT number, release FROM generations WHERE app = ?", app))  # type: ignore[arg-type]

    def same(self, app: str, fingerprint: str) -> frozenset[int]:
        """The generations that start the very same process."""
        found = self._read("SELECT number FROM generations WHERE app = ? AND fingerprint = ?", app, fingerprint)
        return frozenset(int(number) for (number,) in found)  # type: ignore[call-overload]

    def rollout(self, app: str) -> Rollout | None:
        """The one under way."""
        found = self._read(rows.ROLLOUT, app)
        return rows.rollout(app, found[0]) if found else None

    def invocations(self, app: str, generation: int | None = None) -> list[str]:
        """Invocation IDs of the instances seen, of one generation or of all."""
        found = self._read(
            "SELECT invocation_id FROM invocations WHERE app = ? AND (generation = ? OR ?)",
            app,
            generation,
            generation is None,
        )
        return [str(value) for (value,) in found]

    def instances(self, app: str) -> list[int]:
        """The numbers of all instances that were ever seen running."""
        found = self._read("SELECT DISTINCT instance FROM invocations WHERE app = ? ORDER BY instance", app)
        return [int(number) for (number,) in found]  # type: ignore[call-overload]

    # What happens.

    def begin(self, generation: Generation, rollout: Rollout) -> None:
        """A new generation and its rollout, in one transaction."""
        with self._write() as db:
            rows.put_generation(db, generation)
            rows.put_rollout(db, rollout)

    def deployed(self, generation: Generation) -> None:
        """A generation that needed no rollout: the app is at it."""
        with self._write() as db:
            rows.put_generation(db, generation)
            db.execute("INSERT OR REPLACE INTO apps VALUES (?, ?)", (generation.app, generation.number))

    def move(self, rollout: Rollout) -> None:
        """The rollout turned: another phase or reason."""
        with self._write() as db:
            rows.put_rollout(db, rollout)

    def progress(self, rollout: Rollout, replaced: tuple[int, ...], adopted: tuple[int, ...]) -> None:
        """Instances passed, were replaced or adopted."""
        with self._write(NORMAL) as db:
            rows.put_rollout(db, rollout)
            db.execute(
                "UPDATE generations SET replaced = ?, adopted = ? WHERE app = ? AND number = ?",
                (json.dumps(replaced), json.dumps(adopted), rollout.app, rollout.target),
            )

    def failed(self, rollout: Rollout, failure: Failure | None) -> None:
        """Why the rollout of this generation failed; None when it is tried again."""
        with self._write() as db:
            db.execute(
                "UPDATE generations SET failure = ? WHERE app = ? AND number = ?",
                (failure.to_json() if failure is not None else None, rollout.app, rollout.target),
            )

    def finish(self, rollout: Rollout, result: Result, reason: str, now: float) -> None:
        """The rollout ended: the app is at its target if it succeeded, and where it was otherwise."""
        with self._write() as db:
            _finish(db, rollout, result, reason, now)

    def supersede(self, old: Rollout, reason: str, generation: Generation, rollout: Rollout) -> None:
        """A newer rollout takes the place of `old`, in one transaction: there is never none and never two."""
        with self._write() as db:
            _finish(db, old, Result.SUPERSEDED, reason, generation.started)
            rows.put_generation(db, generation)
            rows.put_rollout(db, rollout)

    def saw(self, app: str, generation: int, instance: int, invocation_id: str, boot: float | None = None) -> None:
        """An instance of that generation ran under this invocation ID; `boot`: seconds until it was ready, if it is."""
        with self._write(NORMAL) as db:
            db.execute(
                "INSERT INTO invocations VALUES (?, ?, ?, ?, ?,"
                " coalesce((SELECT max(ordinal) FROM invocations), 0) + 1)"
                " ON CONFLICT DO UPDATE SET boot = coalesce(excluded.boot, boot)",
                (app, generation, instance, invocation_id, boot),
            )

    def boots(self, app: str, generation: int | None = None, limit: int = 50) -> list[float]:
        """How long instances took from their start until they were ready, in seconds, the newest first."""
        found = self._read(
            "SELECT boot FROM invocations WHERE app = ? AND boot IS NOT NULL AND (generation = ? OR ?)"
            " ORDER BY ordinal DESC LIMIT ?",
            app,
            generation,
            generation is None,
            limit,
        )
        return [float(seconds) for (seconds,) in found]  # type: ignore[arg-type]

    def boots_by_generation(self, app: str) -> dict[int, list[float]]:
        """As `boots`, without a limit, for each generation that has any."""
        found: dict[int, list[float]] = {}
        query = "SELECT generation, boot FROM invocations WHERE app = ? AND boot IS NOT NULL ORDER BY ordinal DESC"
        for number, seconds in self._read(query, app):
            found.setdefault(int(number), []).append(float(seconds))  # type: ignore[call-overload, arg-type]
        return found

    def crashes(self, app: str, boot: str) -> dict[int, Crashes]:
        """Instances that crashed, as far as it is not forgiven, since the boot of the machine with this ID."""
        found = self._read(crashes.SELECT, app, boot)
        return {int(number): Crashes.from_json(str(text)) for number, text in found}  # type: ignore[call-overload]

    def crashed(self, app: str, boot: str, news: Mapping[int, Crashes]) -> None:
        """What is known of these instances now; a count of 0 is forgotten."""
        with self._write(NORMAL) as db:
            for instance, known in news.items():
                crashes.put(db, app, boot, instance, known)

    def forget(self, app: str) -> None:
        """The app is removed."""
        with self._write() as db:
            for table, column in (
                ("apps", "name"),
                ("generations", "app"),
                ("rollouts", "app"),
                ("invocations", "app"),
                ("crashes", "app"),
            ):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (app,))  # noqa: S608 - names from above


def _finish(db: sqlite3.Connection, rollout: Rollout, result: Result, reason: str, now: float) -> None:
    db.execute(
        "UPDATE generations SET result = ?, reason = ?, finished = ? WHERE app = ? AND number = ?",
        (result, reason, now, rollout.app, rollout.target),
    )
    db.execute("DELETE FROM rollouts WHERE app = ?", (rollout.app,))
    current = rollout.target if result is Result.SUCCEEDED else rollout.origin
    db.execute("INSERT OR REPLACE INTO apps VALUES (?, ?)", (rollout.app, current))
