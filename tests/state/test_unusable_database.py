"""A database that is lost, damaged or foreign: apps are still shown, changes are refused, and a repair restores it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from deployd.errors import Refused, StateError
from deployd.model.generation import Result
from deployd.model.rollout import Rollout
from tests.state.site import REMEDY, Site, hole, stat_mode


def _garbage(site: Site) -> None:
    site.path.write_bytes(b"this is no database" * 1000)


def _truncated(site: Site) -> None:
    os.truncate(site.path, site.path.stat().st_size // 8192 * 4096)


def _replaced(make: Callable[[Path], object]) -> Callable[[Site], None]:
    def damage(site: Site) -> None:
        site.path.unlink()
        make(site.path)

    return damage


def _alongside(suffix: str, make: Callable[[Path], object]) -> Callable[[Site], None]:
    def damage(site: Site) -> None:
        path = Path(f"{site.path}{suffix}")
        path.unlink(missing_ok=True)
        make(path)

    return damage


def _of_another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE generations (app TEXT, number INTEGER)")
        db.execute("PRAGMA user_version = 1")


def _log_of_another(site: Site) -> None:
    """Add the complete log of another database, with committed pages."""
    other = site.directory / "other.sqlite"
    db = sqlite3.connect(other, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE words (word TEXT)")
    db.executemany("INSERT INTO words VALUES (?)", [("word" * 500,)] * 100)
    shutil.copy(f"{other}-wal", f"{site.path}-wal")
    db.close()
    other.unlink()


BROKEN: dict[str, tuple[Callable[[Site], None], str]] = {
    "deleted": (lambda site: site.path.unlink(), "is missing"),
    "empty": (lambda site: os.truncate(site.path, 0), "is empty"),
    "empty database": (_replaced(lambda path: sqlite3.connect(path).executescript("VACUUM")), "is empty"),
    "garbage": (_garbage, r"is damaged \(file is not a database\)"),
    "truncated": (_truncated, "is damaged"),
    "a hole in it": (hole, "is damaged"),
    "a directory": (_replaced(Path.mkdir), r"cannot be used: history\.sqlite is a directory"),
    "a FIFO": (_replaced(os.mkfifo), r"cannot be used: history\.sqlite is a FIFO"),
    "a link to a device": (_replaced(lambda path: path.symlink_to("/dev/zero")), "is a device"),
    "a link to itself": (_replaced(lambda path: path.symlink_to(path.name)), "cannot be checked"),
    "of another program": (_replaced(_of_another_program), "is not a history written by this deployd"),
    "of an older development version": (
        lambda site: site.sql("PRAGMA application_id = 0", "PRAGMA user_version = 0"),
        "is not a history written by this deployd",
    ),
    "of schema version 2, without durations": (
        lambda site: site.sql(
            "ALTER TABLE generations DROP COLUMN duration",
            "ALTER TABLE rollouts DROP COLUMN began",
            "DROP TABLE totals",
            "PRAGMA user_version = 2",
        ),
        r"was written by an unreleased deployd \(schema version 2; this one knows 5\)",
    ),
    "newer": (
        lambda site: site.sql("PRAGMA user_version = 9"),
        r"was written by a newer deployd \(schema version 9; this one knows 5\)",
    ),
    "without a table": (
        lambda site: site.sql("DROP TABLE rollouts"),
        r"is damaged \(the table or index rollouts is missing",
    ),
    "a table that allows for NULL": (
        lambda site: site.sql(
            "CREATE TABLE other AS SELECT * FROM invocations",
            "DROP TABLE invocations",
            "ALTER TABLE other RENAME TO invocations",
        ),
        r"is damaged \(the table or index invocations is missing or was altered\)",
    ),
    "its log is a directory": (_alongside("-wal", Path.mkdir), r"history\.sqlite-wal is a directory"),
    "its shared memory is a FIFO": (_alongside("-shm", os.mkfifo), r"history\.sqlite-shm is a FIFO"),
    "a log of another database": (_log_of_another, "is (damaged|not a history)"),
    "a journal of another database": (
        _alongside("-journal", lambda path: path.write_bytes(b"journal")),
        "has the journal of another database next to it",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_unusable_database_is_reported_not_written_and_repaired(site: Site, kind: str) -> None:
    before = {app: site.facts(app) for app in ("demo", "other")}
    damage, sentence = BROKEN[kind]
    site.history.close()
    damage(site)
    files = {path.name: path.stat().st_size for path in site.directory.glob("history*") if path.is_file()}
    trouble = site.reopened()
    # Queries work.
    assert {app: site.facts(app) for app in ("demo", "other")} == before
    assert site.history.apps() == ["demo", "other"]
    # Changes are refused with one sentence, and nothing is written.
    with pytest.raises(StateError, match=sentence) as refused:
        site.history.move(Rollout("demo", 2, 3))
    assert str(refused.value) == trouble == f"{site.path} {trouble.removeprefix(f'{site.path} ')}"
    assert trouble.endswith(f"; {REMEDY}")
    assert "\n" not in trouble
    for name, size in files.items():
        if not name.endswith("-shm"):
            assert (site.directory / name).stat().st_size == size, name
    # A repair.
    aside, apps = site.repair()
    assert apps == {"demo", "other"}
    assert (aside is None) == (kind == "deleted")
    assert site.history.source.trouble() == ""
    assert {app: site.facts(app) for app in ("demo", "other")} == before
    assert site.reopened() == ""
    assert stat_mode(site.path) == 0o600
    if aside is not None and "history.sqlite" in files:
        assert aside.stat().st_size == files["history.sqlite"], "the old database is kept"
    with pytest.raises(Refused, match="is in order"):
        site.repair()
    site.roll("demo", 4, Result.SUCCEEDED)
    assert site.history.current("demo") == 4


def test_the_daemon_starts_without_access_to_any_generation(site: Site) -> None:
    site.history.close()
    (site.directory / "apps").rename(site.directory / "away")
    (site.directory / "apps").symlink_to("apps")
    assert "cannot be compared with the generations on disk" in site.reopened()
    assert site.history.apps() == []
    with pytest.raises(StateError):
        site.history.move(Rollout("demo", 2, 3))
    (site.directory / "apps").unlink()
    (site.directory / "away").rename(site.directory / "apps")
    assert site.history.source.refresh()
    site.roll("demo", 4)


def test_a_restored_backup_is_noticed_without_a_restart(site: Site) -> None:
    site.history.close()
    site.path.rename(site.directory / "backup")
    assert "is missing" in site.reopened()
    assert not site.history.source.refresh(), "nothing has changed"
    (site.directory / "backup").rename(site.path)
    assert site.history.source.refresh()
    assert site.history.source.trouble() == ""
    site.roll("demo", 4)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_open_files_that_are_removed_are_noticed(site: Site, suffix: str) -> None:
    Path(f"{site.path}{suffix}").unlink()
    with pytest.raises(StateError):
        site.roll("demo", 4)
    assert site.history.source.refresh()
    assert ("is missing" in site.history.source.trouble()) == (suffix == "")
    if site.history.source.trouble("demo"):
        site.repair()
    site.roll("demo", 4, Result.SUCCEEDED)
    assert site.history.current("demo") == 4


def test_damage_of_an_open_database_is_reported_in_one_sentence(site: Site) -> None:
    before = site.facts("demo")
    site.history.source._require().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    hole(site)
    site.history.source._require().execute("PRAGMA shrink_memory")
    with pytest.raises(StateError, match=r"history\.sqlite"):
        site.roll("demo", 4)
    site.history.source.refresh()
    assert "is damaged" in site.history.source.trouble()
    assert site.facts("demo")[:3] == before[:3]
