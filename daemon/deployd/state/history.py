"""The history of generations and the rollout in progress, in SQLite: what the daemon remembers between its runs.

In WAL mode a transaction is atomic whenever the process is killed (sqlite.org/wal.html). Decisions (a rollout begins,
changes its phase, ends) are committed with synchronous=FULL and survive a power failure. Progress that can be observed
again (which instances have passed) is committed with NORMAL, which saves an fsync per instance.
A database that cannot be written is still read, so that `status` and `history` work. An unusable one is replaced in
memory by rows rebuilt from generations and pins (`source.py`), until it is repaired.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from deployd.errors import StateError
from deployd.model.app import OTHERS, App
from deployd.model.clock import Timestamp
from deployd.model.crashes import Crash, Crashes
from deployd.model.failure import Failure
from deployd.model.generation import Entry, Generation
from deployd.model.probation import Probation
from deployd.model.rollout import Rollout
from deployd.state import crashes, ends, probations, rows, totals
from deployd.state.damage import described
from deployd.state.ends import Beginning, Ending
from deployd.state.pins import Pins
from deployd.state.records import Records, SettingsNow
from deployd.state.repair import TABLES
from deployd.state.source import FULL, NORMAL, Source

INVOCATIONS = 2000
"""Invocations kept per generation, the newest ones; an app has at most half as many instances."""

FORGOTTEN = 500
"""Generations that one rollout removes at most, to bound its work."""

T = TypeVar("T")


class History:
    """The database in `directory`. All methods raise StateError if it cannot be read or written."""

    def __init__(self, directory: Path, pins: Pins | None = None, settings_now: SettingsNow = lambda _: None) -> None:
        self._records = Records(pins or Pins(directory), settings_now)
        self.source = Source(directory / "history.sqlite", self._records)

    def open(self) -> None:
        """Open the database, see Source.open."""
        self.source.open()

    def close(self) -> None:
        self.source.close()

    def _read(self, query: str, app: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.source.read(app, query, app, *parameters)

    def _write(self, app: str, synchronous: str = FULL) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return self.source.write(app, synchronous)

    def _parsed(self, app: str, parse: Callable[[tuple[Any, ...]], T], found: Iterable[tuple[Any, ...]]) -> list[T]:
        try:
            return [parse(row) for row in found]
        except rows.UNREADABLE as error:
            raise StateError(
                self.source.sentence(f"has rows of {app} that cannot be read ({described(error)})")
            ) from error

    def _require_usable(self, apps: Iterable[str]) -> None:
        """Raise StateError if the rows of one of these apps and process types are damaged."""
        if trouble := next(filter(None, map(self.source.trouble, apps)), ""):
            raise StateError(trouble)

    def require_writable(self, app: str) -> None:
        """Raise StateError if the history cannot be written now."""
        self.crashed(app, "", {})

    # Queries.

    def apps(self) -> list[str]:
        """Return the names of all apps that ever had a generation and were not removed."""
        return self.source.apps()

    def current(self, app: str) -> int | None:
        """Return the current generation of the app: the last whose rollout succeeded."""
        found = self._read("SELECT current FROM apps WHERE name = ?", app)
        return found[0][0] if found else None

    def next_number(self, app: str) -> int:
        """Return a number above all that were ever used, including those of removed generations."""
        found = self._read("SELECT last + 1 FROM apps WHERE name = ?", app)
        return int(found[0][0]) if found else 1

    def past(self, app: str) -> list[Entry]:
        """Return all generations, newest first, with the fields on which a rollback depends."""
        return self._parsed(app, rows.past, self._read(f"{rows.PAST} ORDER BY number DESC", app))

    def fence(self, app: str) -> Entry | None:
        """Return the generation with the highest token of a fleet that was accepted, the newest of several."""
        found = self._read(f"{rows.PAST} AND token > 0 ORDER BY token DESC, number DESC LIMIT 1", app)
        return next(iter(self._parsed(app, rows.past, found)), None)

    def entries(self, app: str, limit: int, before: int = 0) -> list[Entry]:
        """Return up to `limit` generations, newest first; with `before`, only those with lower numbers."""
        query = f"{rows.ENTRY} AND (number < ? OR ?) ORDER BY number DESC LIMIT ?"
        return self._parsed(app, rows.entry, self._read(query, app, before, not before, limit))

    def generation(self, app: str, number: int) -> Generation | None:
        found = self._parsed(app, rows.generation, self._read(f"{rows.GENERATION} AND number = ?", app, number))
        return found[0] if found else None

    def settings(self, app: str, number: int) -> App | None:
        """Return the settings of a generation."""
        generation = self.generation(app, number)
        return generation.settings if generation is not None else None

    def credentials(self, app: str) -> frozenset[str]:
        """Return the digests of the credentials of all generations. Raises StateError unless all are known."""
        if trouble := self.source.trouble(app):
            raise StateError(trouble)
        each = "json_each(settings, '$.credentials')"
        found = self._read(f"SELECT json_extract(value, '$[1]') FROM generations, {each} WHERE app = ?", app)  # noqa: S608
        return frozenset(digest for (digest,) in found)

    def releases(self, app: str, numbers: Iterable[int | None]) -> dict[int, str]:
        """Return the release directories of some generations."""
        query = "SELECT number, release FROM generations WHERE app = ? AND number IN (SELECT value FROM json_each(?))"
        return dict(self._read(query, app, json.dumps(sorted({item for item in numbers if item is not None}))))

    def same(self, app: str, fingerprint: str) -> frozenset[int]:
        """Return the generations that start an identical process."""
        process = fingerprint.partition(OTHERS)[0]
        query = "SELECT number FROM generations WHERE app = ?1 AND (fingerprint = ?2 OR fingerprint GLOB ?2 || ?3)"
        found = self._read(query, app, process, f"{OTHERS}*")
        return frozenset(int(number) for (number,) in found)

    def rollout(self, app: str) -> Rollout | None:
        """Return the rollout in progress."""
        found = self._parsed(app, lambda row: rows.rollout(app, row), self._read(rows.ROLLOUT, app))
        return found[0] if found else None

    def probation(self, app: str) -> Probation | None:
        """Return the probation of the current generation, also after it has failed."""
        found = self._parsed(app, probations.probation, self._read(probations.SELECT, app))
        return found[0] if found else None

    def invocations(self, app: str, generation: int) -> list[str]:
        """Return the invocation IDs of the instances of a generation that were seen."""
        query = "SELECT invocation_id FROM invocations WHERE app = ? AND generation = ?"
        return [str(value) for (value,) in self._read(query, app, generation)]

    def generations_of(self, app: str, invocations: Collection[str]) -> dict[str, int]:
        """Return the generations of those of the invocation IDs that are known."""
        query = "SELECT invocation_id, generation FROM invocations WHERE app = ?"
        query += " AND invocation_id IN (SELECT value FROM json_each(?))"
        return {str(key): int(number) for key, number in self._read(query, app, json.dumps(list(invocations)))}

    def instances(self, app: str) -> list[int]:
        """Return the numbers of all instances that were seen running."""
        found = self._read("SELECT DISTINCT instance FROM invocations WHERE app = ? ORDER BY instance", app)
        return [int(number) for (number,) in found]

    def totals(self, app: str) -> dict[str, totals.Total]:
        """Return how often each result of a rollout, and `totals.CRASHES`, has occurred so far."""
        return {str(what): totals.Total(*figures) for what, *figures in self._read(totals.SELECT, app)}

    # Changes.

    def begin_together(self, beginnings: Sequence[Beginning], now: Timestamp) -> None:
        """Add generations and their rollouts in one transaction: those of an app, first, and of its process types."""
        with contextlib.ExitStack() as stack:
            self._require_usable([item.generation.app for item in beginnings])
            for item in beginnings:
                stack.enter_context(self._records.written(item.generation, item.rollout))
            db = stack.enter_context(self._write(beginnings[0].generation.app))
            for item in beginnings:
                ends.begin(db, item, now)
        for item in beginnings:
            if item.superseded is not None:
                self.source.record(item.superseded.app, item.superseded.target)

    def deployed(self, *generations: Generation) -> None:
        """Add a generation that needed no rollout, of an app and of its process types, and make it the current one."""
        with self._write(generations[0].app) as db:
            for item in generations:
                rows.put_generation(db, item)
                rows.put_current(db, item.app, item.number)
        for item in generations:
            self.source.record(item.app, item.number)

    def move(self, rollout: Rollout) -> None:
        """Store another phase or reason of the rollout."""
        with self._write(rollout.app) as db:
            rows.put_rollout(db, rollout)
        self.source.record(rollout.app, rollout.target, rollout)

    def progress(self, rollout: Rollout, replaced: tuple[int, ...], adopted: tuple[int, ...]) -> None:
        """Store which instances have passed, were replaced or adopted."""
        with self._write(rollout.app, NORMAL) as db:
            rows.put_rollout(db, rollout)
            db.execute(
                "UPDATE generations SET replaced = ?, adopted = ? WHERE app = ? AND number = ?",
                (json.dumps(replaced), json.dumps(adopted), rollout.app, rollout.target),
            )

    def failed(self, rollout: Rollout, failure: Failure | None) -> None:
        """Store why the rollout of this generation failed; None when it is retried."""
        with self._write(rollout.app) as db:
            db.execute(
                "UPDATE generations SET failure = ? WHERE app = ? AND number = ?",
                (failure.to_json() if failure is not None else None, rollout.app, rollout.target),
            )

    def finish_together(self, endings: Sequence[Ending], now: Timestamp) -> None:
        """End rollouts in one transaction: those of an app and of its process types.

        The current generation is the target if the rollout succeeded, and the origin otherwise.
        """
        self._require_usable([item.rollout.app for item in endings])
        with self._write(endings[0].rollout.app) as db:
            for item in endings:
                ends.finish(db, item, now)
        for item in endings:
            self.source.record(item.rollout.app, item.rollout.target)

    def saw(self, app: str, generation: int, instance: int, invocation_id: str, boot: float | None = None) -> None:
        """Record the invocation ID of an instance, and in `boot` the seconds until it was ready, once it is.

        The longest counts: a later daemon may not know when its probe first succeeded.
        """
        with self._write(app, NORMAL) as db:
            db.execute(
                "INSERT INTO invocations (app, generation, instance, invocation_id, boot) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET boot = coalesce(max(excluded.boot, boot), excluded.boot, boot)",
                (app, generation, instance, invocation_id, boot),
            )

    def boots(self, app: str, limit: int = 50) -> list[float]:
        """Return the seconds that instances took from their start until they were ready, newest first."""
        query = "SELECT boot FROM invocations WHERE app = ? AND boot IS NOT NULL ORDER BY ordinal DESC LIMIT ?"
        return [float(seconds) for (seconds,) in self._read(query, app, limit)]

    def boots_by_generation(self, app: str, numbers: Collection[int]) -> dict[int, list[float]]:
        """Return the same as `boots`, without a limit, for each of some generations that has any."""
        found: dict[int, list[float]] = {}
        query = (
            "SELECT generation, boot FROM invocations WHERE app = ? AND boot IS NOT NULL"
            " AND generation IN (SELECT value FROM json_each(?)) ORDER BY ordinal DESC"
        )
        for number, seconds in self._read(query, app, json.dumps(sorted(numbers))):
            found.setdefault(int(number), []).append(float(seconds))
        return found

    def crashes(self, app: str, boot: str) -> dict[int, Crashes]:
        """Return the crashes of instances in the boot of the machine with this ID, except those forgiven since."""
        found = self._read(crashes.SELECT, app, boot)
        return dict(self._parsed(app, lambda row: (int(row[0]), Crashes.from_json(row[1])), found))

    def crashed(self, app: str, boot: str, news: Mapping[int, Crashes]) -> None:
        """Store the crashes of these instances; remove those with a count of 0."""
        with self._write(app, NORMAL) as db:
            for instance, known in news.items():
                crashes.put(db, app, boot, instance, known)

    def logged_crashes(self, app: str, boot: str) -> list[Crash]:
        """Return the crashes of instances in the boot of the machine with this ID, oldest first."""
        found = self._read(f"{crashes.SELECT_LOGGED} ORDER BY ordinal", app, boot)
        return self._parsed(app, lambda row: Crash(*row), found)

    def crashes_elsewhere(self, app: str, boot: str) -> dict[str, list[float]]:
        """Return the times of crashes of other apps in this boot, by app, except those of apps on probation."""
        found: dict[str, list[float]] = {}
        for other, at in self._read(crashes.SELECT_ELSEWHERE, app, boot):
            found.setdefault(str(other), []).append(float(at))
        return found

    def log_crashes(self, app: str, boot: str, news: Collection[Crash]) -> None:
        """Add crashes to the log."""
        with self._write(app, NORMAL) as db:
            crashes.log(db, app, boot, news)
            totals.add(db, app, totals.CRASHES, len(news))

    def put_on_probation(self, probation: Probation, failure: Failure | None = None) -> None:
        """Store the probation of the current generation and, once that has failed it, its failure."""
        with self._write(probation.app) as db:
            probations.put(db, probation.app, probation)
            if failure is not None:
                db.execute(
                    "UPDATE generations SET failure = ?, reason = ? WHERE app = ? AND number = ?",
                    (failure.to_json(), failure.reason, probation.app, probation.generation),
                )
        if failure is not None:
            self.source.record(probation.app, probation.generation)

    def end_probation(self, app: str) -> None:
        """Remove the probation of an app."""
        with self._write(app) as db:
            probations.put(db, app, None)

    # Removal.

    def prune(self, app: str, keep: Collection[int], boot: str) -> None:
        """Remove generations not in `keep`, oldest first, with their invocations; and crashes of other boots."""
        numbers = [number for (number,) in self._read("SELECT number FROM generations WHERE app = ? ORDER BY 1", app)]
        forgotten = [(app, number) for number in numbers if number not in keep][:FORGOTTEN]
        with self._write(app, NORMAL) as db:
            db.executemany("DELETE FROM generations WHERE app = ? AND number = ?", forgotten)
            db.execute(
                "DELETE FROM invocations WHERE app = ?1"
                " AND generation NOT IN (SELECT number FROM generations WHERE app = ?1)",
                (app,),
            )
            db.execute("DELETE FROM crashes WHERE app = ? AND boot != ?", (app, boot))
            db.execute(
                "DELETE FROM invocations WHERE ordinal IN (SELECT ordinal FROM (SELECT ordinal, row_number() OVER"
                " (PARTITION BY generation ORDER BY ordinal DESC) AS rank FROM invocations WHERE app = ?)"
                " WHERE rank > ?)",
                (app, INVOCATIONS),
            )

    def retire(self, app: str) -> None:
        """Note that a process type has no current generation any more; its generations stay for rollbacks."""
        with self._write(app) as db:
            rows.put_current(db, app, None)
            probations.put(db, app, None)

    def forget(self, app: str) -> None:
        """Remove all rows of an app."""
        with self._write(app) as db:
            for table, column in TABLES:
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (app,))  # noqa: S608 - names from above
