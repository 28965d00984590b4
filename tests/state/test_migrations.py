"""A history of an earlier schema version is migrated when it is opened, whole or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from deployd.errors import StateError
from deployd.model.generation import Result
from deployd.model.rollout import Rollout
from deployd.state import database, migrations
from deployd.state.ends import Ending
from deployd.state.history import History
from deployd.state.totals import CRASHES, Total
from tests.state.four_rollouts import at, generation

RUNNING = Rollout("demo", 1, 5, started=1005.0)
COUNTED = {
    Result.SUCCEEDED: Total(1, 0.5),
    Result.ROLLED_BACK: Total(1, 0.5),
    Result.ABORTED: Total(1, 0.5),
    CRASHES: Total(1, 0.0),
}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A history of version 3, with a rollout in progress."""
    path = tmp_path / "history.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name("version_3.sql").read_text())
    return path


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return migrations.version_of(db)


def test_an_older_history_is_opened_with_everything_in_it(older: Path) -> None:
    history = History(older.parent)
    history.open()
    assert history.source.trouble() == ""
    assert version(older) == migrations.VERSION
    assert (history.current("demo"), history.next_number("demo"), history.rollout("demo")) == (1, 6, RUNNING)
    assert [item.number for item in history.past("demo")] == [5, 4, 2, 1]
    assert history.generation("demo", 5) == generation(5)
    assert history.totals("demo") == COUNTED
    history.finish_together([Ending(RUNNING, Result.SUCCEEDED, "")], at(1006.0))
    assert history.totals("demo")[Result.SUCCEEDED] == Total(2, 1.5)
    history.close()


def test_a_migrated_history_has_the_tables_of_a_new_one(older: Path) -> None:
    with contextlib.closing(database.connect_writing(older)) as db:
        assert database._tables(db) == database._tables(database.in_memory())


def test_a_migration_that_fails_changes_nothing(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(db: sqlite3.Connection) -> None:
        migrations._count_totals(db)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setitem(migrations.MIGRATIONS, 3, fail)
    before = [*sqlite3.connect(older).iterdump()]
    with pytest.raises(sqlite3.OperationalError, match=r"^disk I/O error$"):
        database.connect_writing(older)
    assert [*sqlite3.connect(older).iterdump()] == before
    assert version(older) == 3


def test_a_history_that_cannot_be_written_is_read_as_if_it_was_migrated(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(database, "connect_writing", fail)
    history = History(older.parent)
    history.open()
    assert history.source.trouble() == ""
    assert history.totals("demo") == COUNTED
    assert history.rollout("demo") == RUNNING
    with pytest.raises(StateError, match="nothing was changed"):
        history.finish_together([Ending(RUNNING, Result.SUCCEEDED, "")], at(1006.0))
    assert version(older) == 3
    history.close()


def test_an_older_history_that_lacks_a_table_is_refused(older: Path) -> None:
    with contextlib.closing(sqlite3.connect(older)) as db, db:
        db.execute("DROP TABLE rollouts")
    with pytest.raises(database.Unfit, match=r"^is damaged \(the table or index rollouts is missing"):
        database.inspect(older, expected=True)


def test_there_is_a_migration_for_each_version() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(migrations.OLDEST, migrations.VERSION))
