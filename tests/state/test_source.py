"""A history that is lost, damaged or somebody else's: what is told, what is refused, what a repair brings back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import Locked, Refused, StateError
from deployd.model.generation import Cause, Result
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.state import database, repair
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.state.rebuild import LOST
from tests.state.four_rollouts import generation

FILES = {"run": ("#!/bin/sh\n", 0o755), "environment": ("A=b\n", 0o600)}
WAY_OUT = "run deployd repair to rebuild it from the generations on disk, or restore a backup"


class Site:
    """Two apps with generations, pins and a history: `demo` at 2, gone back to from 3, and `other` at 1."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "history.sqlite"
        self.pins = Pins(directory)
        self.history = History(directory, self.pins)
        self.history.open()
        for number, result in ((1, Result.SUCCEEDED), (2, Result.SUCCEEDED), (3, Result.ROLLED_BACK)):
            self.roll("demo", number, result)
        self.roll("other", 1, Result.SUCCEEDED)
        for instance in (1, 2):
            self.pins.pin("demo", instance, 2)
            self.pins.pin("other", instance, 1)

    def roll(self, app: str, number: int, result: Result = Result.RUNNING) -> Rollout:
        made = replace(generation(number, app=app), origin=self.history.current(app))
        self.pins.write_generation(app, number, FILES, made.release)
        rollout = Rollout(app, made.origin, number, started=made.started)
        self.history.begin(made, rollout)
        if result is not Result.RUNNING:
            self.history.finish(rollout, result, "", made.started + 1)
        return rollout

    def sql(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            for statement in statements:
                db.execute(statement)

    def facts(self, app: str) -> tuple[Any, ...]:
        """What status, history, adoption and the way back are told from."""
        history = self.history
        numbers = [item.number for item in history.past(app)]
        return (
            history.current(app),
            history.rollout(app),
            [history.generation(app, number) for number in numbers],
            history.next_number(app),
        )

    def repair(self) -> tuple[Path | None, frozenset[str]]:
        return self.history.source.repair(self.history.source.examine())

    def reopened(self) -> str:
        """As after a restart of the daemon; what is wrong."""
        self.history.close()
        self.history.open()
        return self.history.source.trouble()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.history.close()


def _garbage(site: Site) -> None:
    site.path.write_bytes(b"this is no database" * 1000)


def _truncated(site: Site) -> None:
    os.truncate(site.path, site.path.stat().st_size // 8192 * 4096)


def _hole(site: Site) -> None:
    size = site.path.stat().st_size
    with site.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 8192))


def _replaced(make: Callable[[Path], object]) -> Callable[[Site], None]:
    def damage(site: Site) -> None:
        site.path.unlink()
        make(site.path)

    return damage


def _beside(suffix: str, make: Callable[[Path], object]) -> Callable[[Site], None]:
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
    """A whole log with committed pages of a database that somebody else made."""
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
    "a hole in it": (_hole, "is damaged"),
    "a directory": (_replaced(Path.mkdir), r"cannot be used: history\.sqlite is a directory"),
    "a FIFO": (_replaced(os.mkfifo), r"cannot be used: history\.sqlite is a FIFO"),
    "a link to a device": (_replaced(lambda path: path.symlink_to("/dev/zero")), "is a device"),
    "a link to itself": (_replaced(lambda path: path.symlink_to(path.name)), "cannot be looked at"),
    "of another program": (_replaced(_of_another_program), "is not a history written by this deployd"),
    "of an older development version": (
        lambda site: site.sql("PRAGMA application_id = 0", "PRAGMA user_version = 0"),
        "is not a history written by this deployd",
    ),
    "newer": (
        lambda site: site.sql("PRAGMA user_version = 9"),
        r"was written by a newer deployd \(schema version 9; this one knows 1\)",
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
    "its log is a directory": (_beside("-wal", Path.mkdir), r"history\.sqlite-wal is a directory"),
    "its shared memory is a FIFO": (_beside("-shm", os.mkfifo), r"history\.sqlite-shm is a FIFO"),
    "a log of another database": (_log_of_another, "is (damaged|not a history)"),
    "a journal of another database": (
        _beside("-journal", lambda path: path.write_bytes(b"journal")),
        "has the journal of another database beside it",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_fit_is_told_not_written_and_repaired(site: Site, kind: str) -> None:
    before = {app: site.facts(app) for app in ("demo", "other")}
    damage, sentence = BROKEN[kind]
    site.history.close()
    damage(site)
    files = {path.name: path.stat().st_size for path in site.directory.glob("history*") if path.is_file()}
    trouble = site.reopened()
    # All that only looks goes on.
    assert {app: site.facts(app) for app in ("demo", "other")} == before
    assert site.history.apps() == ["demo", "other"]
    # What changes something is refused with one sentence, and nothing is written.
    with pytest.raises(StateError, match=sentence) as refused:
        site.history.move(Rollout("demo", 2, 3))
    assert str(refused.value) == trouble == f"{site.path} {trouble.removeprefix(f'{site.path} ')}"
    assert trouble.endswith(f"; {WAY_OUT}")
    assert "\n" not in trouble
    for name, size in files.items():
        if not name.endswith("-shm"):
            assert (site.directory / name).stat().st_size == size, name
    # The way out.
    aside, apps = site.repair()
    assert apps == {"demo", "other"}
    assert (aside is None) == (kind == "deleted")
    assert site.history.source.trouble() == ""
    assert {app: site.facts(app) for app in ("demo", "other")} == before
    assert site.reopened() == ""
    assert stat_mode(site.path) == 0o600
    if aside is not None and "history.sqlite" in files:
        assert aside.stat().st_size == files["history.sqlite"], "what was there is kept"
    with pytest.raises(Refused, match="is in order"):
        site.repair()
    site.roll("demo", 4, Result.SUCCEEDED)
    assert site.history.current("demo") == 4


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


REST = "'', 0, 0, '[]', '', '[]', 0, 0, '', NULL"
ROWS: dict[str, str] = {
    "settings that are no JSON": "UPDATE generations SET settings = '{broken' WHERE app = 'demo' AND number = 2",
    "settings of somebody else": "UPDATE generations SET settings = '[]' WHERE app = 'demo' AND number = 2",
    "settings without a name": "UPDATE generations SET settings = '{}' WHERE app = 'demo'",
    "text for a number": "UPDATE generations SET settings = json_set(settings, '$.instances', '4') WHERE app = 'demo'",
    "a number for a list": "UPDATE generations SET settings = json_set(settings, '$.exec', 7) WHERE app = 'demo'",
    "text that is not UTF-8": "UPDATE generations SET reason = CAST(x'ff' AS TEXT) WHERE app = 'demo' AND number = 1",
    "text in a list of numbers": "UPDATE generations SET replaced = '[\"a\"]' WHERE app = 'demo' AND number = 2",
    "a failure of nothing": "UPDATE generations SET failure = '{}' WHERE app = 'demo' AND number = 2",
    "an unknown result": "UPDATE generations SET result = 'quantum' WHERE app = 'demo' AND number = 1",
    "an unknown cause": "UPDATE generations SET cause = 'whim' WHERE app = 'demo' AND number = 3",
    "a rollout of nothing": f"INSERT INTO rollouts VALUES ('demo', 2, 9, 'rolling', {REST})",
    "a rollout that has ended": f"INSERT INTO rollouts VALUES ('demo', 2, 3, 'rolling', {REST})",
    "an unknown phase": f"INSERT INTO rollouts VALUES ('demo', 2, 3, 'spin', {REST})",
    "a current one that is not there": "UPDATE apps SET current = 7 WHERE name = 'demo'",
    "no app": "DELETE FROM apps WHERE name = 'demo'",
    "what runs is missing": "DELETE FROM generations WHERE app = 'demo' AND number = 2",
    "crashes of another kind": "INSERT INTO crashes VALUES ('demo', 1, 'boot', 'null')",
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_one_app_are_its_trouble_alone(site: Site, kind: str) -> None:
    before = site.facts("demo")
    site.history.close()
    site.sql(ROWS[kind])
    assert site.reopened() == ""
    source = site.history.source
    trouble = source.trouble("demo")
    assert trouble.endswith(f"; {WAY_OUT}")
    assert len(trouble) < 400
    assert source.trouble("other") == ""
    assert site.facts("demo") == before
    with pytest.raises(StateError, match=r"history\.sqlite"):
        site.roll("demo", 4)
    rollout = site.roll("other", 2)
    aside, apps = site.repair()
    assert apps == {"demo"}
    assert aside is not None
    assert stat_mode(aside) == 0o600
    assert source.trouble("demo") == ""
    assert site.facts("demo")[:3] == before[:3]
    assert site.history.rollout("other") == rollout, "what is under way beside it is not touched"
    with contextlib.closing(sqlite3.connect(aside)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_what_somebody_wrote_into_a_row_is_quoted_short_and_clean(site: Site) -> None:
    site.history.close()
    site.sql("UPDATE generations SET cause = char(27) || hex(zeroblob(100000)) WHERE app = 'demo'")
    site.sql("INSERT INTO apps VALUES ('../..', 1, 1), (char(10), 1, 1), ('', 1, 1)")
    site.reopened()
    assert site.history.apps() == ["demo", "other"]
    trouble = site.history.source.trouble("demo")
    assert len(trouble) < 400
    assert trouble.isprintable()


def test_what_of_an_app_cannot_be_looked_at_is_its_trouble_alone(site: Site) -> None:
    site.history.close()
    pins = site.directory / "apps/demo/pins"
    shutil.rmtree(pins)
    pins.symlink_to("pins")
    site.reopened()
    assert "cannot be compared with the generations of demo on disk" in site.history.source.trouble("demo")
    assert site.history.source.trouble("other") == ""
    site.roll("other", 2, Result.SUCCEEDED)
    site.history.close()
    site.path.unlink()
    assert "is missing" in site.reopened()
    assert site.history.current("other") == 2


def test_without_access_to_any_generation_the_daemon_comes_up(site: Site) -> None:
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


def test_an_old_row_that_cannot_be_read_harms_only_who_asks_for_it(site: Site) -> None:
    before = site.facts("demo")
    site.history.close()
    site.sql("UPDATE generations SET settings = 'null' WHERE app = 'demo' AND number = 1")
    assert (site.reopened(), site.history.source.trouble("demo")) == ("", "")
    with pytest.raises(StateError, match=f"has rows of demo that cannot be read .*; {WAY_OUT}"):
        site.history.generation("demo", 1)
    site.roll("demo", 4, Result.ABORTED)
    assert [item.number for item in site.history.entries("demo", 9)] == [4, 3, 2, 1]
    site.repair()
    assert site.facts("demo") != before
    assert site.history.generation("demo", 1) is not None


def test_a_backup_that_is_older_than_what_runs_is_not_gone_by(site: Site) -> None:
    site.history.close()
    shutil.copy(site.path, site.directory / "backup")
    site.history.open()
    site.roll("demo", 4, Result.SUCCEEDED)
    site.pins.pin("demo", 1, 4)
    site.history.close()
    shutil.copy(site.directory / "backup", site.path)
    site.reopened()
    assert "lacks generation 4 of demo, which is on disk" in site.history.source.trouble("demo")
    assert site.history.source.trouble("other") == ""
    assert site.history.next_number("demo") == 5
    site.repair()
    assert (site.history.current("demo"), site.history.next_number("demo")) == (4, 5)


def test_a_history_of_another_machine_is_not_gone_by(site: Site, tmp_path: Path) -> None:
    before = site.facts("demo")
    other = Site(tmp_path / "other")
    other.sql("UPDATE generations SET release = '/srv/else'")
    other.history.close()
    site.history.close()
    shutil.copy(other.path, site.path)
    site.reopened()
    assert "disagrees with the record on disk about generation 2 of demo" in site.history.source.trouble("demo")
    record = site.directory / "apps/demo/generations/2/generation.json"
    assert json.loads(record.read_text())["generation"]["release"] == "/srv/demo/2", "it is left as it was"
    site.path.unlink()
    site.reopened()
    assert site.facts("demo") == before


def test_a_repair_that_does_not_fit_on_the_disk_leaves_all_as_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.history.close()
    site.sql(ROWS["an unknown result"])
    site.reopened()
    files = {path.name for path in site.directory.iterdir()}

    def full(path: Path, db: sqlite3.Connection, *_: object) -> Path:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(repair, "mend", full)
    with pytest.raises(StateError, match="cannot be repaired: database or disk is full"):
        site.repair()
    monkeypatch.undo()
    assert {path.name for path in site.directory.iterdir()} == files
    assert site.history.source.trouble("demo") != ""
    assert site.repair()[1] == {"demo"}


def test_a_backup_that_is_put_back_is_noticed_without_a_restart(site: Site) -> None:
    site.history.close()
    site.path.rename(site.directory / "backup")
    assert "is missing" in site.reopened()
    assert not site.history.source.refresh(), "nothing is new"
    (site.directory / "backup").rename(site.path)
    assert site.history.source.refresh()
    assert site.history.source.trouble() == ""
    site.roll("demo", 4)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_files_that_vanish_while_they_are_open_are_noticed(site: Site, suffix: str) -> None:
    Path(f"{site.path}{suffix}").unlink()
    with pytest.raises(StateError):
        site.roll("demo", 4)
    assert site.history.source.refresh()
    assert ("is missing" in site.history.source.trouble()) == (suffix == "")
    if site.history.source.trouble("demo"):
        site.repair()
    site.roll("demo", 4, Result.SUCCEEDED)
    assert site.history.current("demo") == 4


def test_damage_that_comes_while_it_is_open_is_one_sentence(site: Site) -> None:
    before = site.facts("demo")
    site.history.source._require().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _hole(site)
    site.history.source._require().execute("PRAGMA shrink_memory")
    with pytest.raises(StateError, match=r"history\.sqlite"):
        site.roll("demo", 4)
    site.history.source.refresh()
    assert "is damaged" in site.history.source.trouble()
    assert site.facts("demo")[:3] == before[:3]


def test_a_rollout_under_way_stands_paused_after_a_repair(site: Site) -> None:
    site.roll("demo", 4)
    site.pins.pin("demo", 1, 4)
    site.history.close()
    site.path.unlink()
    site.reopened()
    site.repair()
    rollout = site.history.rollout("demo")
    assert rollout is not None
    assert (rollout.origin, rollout.target, rollout.phase, rollout.pause) == (2, 4, Phase.PAUSED, Pause.BLOCKED)
    assert site.history.current("demo") == 2
    site.history.finish(rollout, Result.SUCCEEDED, "", 1.0)
    assert site.history.current("demo") == 4


@pytest.mark.parametrize(
    ("stood", "stands"),
    [
        ((Phase.PAUSED, Pause.HELD), Pause.BLOCKED),
        ((Phase.PAUSED, Pause.FAILED), Pause.FAILED),
        ((Phase.PAUSED, Pause.REQUESTED), Pause.REQUESTED),
        ((Phase.ROLLING_BACK, Pause.NONE), Pause.STRANDED),
        ((Phase.PAUSED, Pause.STRANDED), Pause.STRANDED),
    ],
)
def test_a_rollout_stands_as_it_stood_with_its_share_of_connections(
    site: Site, stood: tuple[Phase, Pause], stands: Pause
) -> None:
    rollout = site.roll("demo", 4)
    site.pins.pin("demo", 1, 4)
    phase, pause = stood
    turned = replace(rollout, phase=phase, pause=pause, reason="why", holds=(Hold(1, True, 0.05),), weight=(4, 0.01))
    site.history.move(turned)
    site.history.close()
    site.path.unlink()
    site.reopened()
    assert site.history.rollout("demo") == replace(turned, phase=Phase.PAUSED, pause=stands, reason=f"why; {LOST}")


def test_a_rollout_that_had_started_nothing_has_ended_after_a_repair(site: Site) -> None:
    site.roll("demo", 4)
    site.history.close()
    site.path.unlink()
    site.reopened()
    site.repair()
    assert site.history.rollout("demo") is None
    assert site.history.past("demo")[0].result is Result.ABORTED
    assert site.history.next_number("demo") == 5


def test_without_a_record_the_app_file_tells_the_settings(site: Site) -> None:
    settings = generation(2).settings
    site.history.close()
    site.path.unlink()
    for name in ("1", "2", "3"):
        (site.directory / "apps/demo/generations" / name / "generation.json").write_text("broken")
    history = History(site.directory, site.pins, {"demo": settings}.get)
    history.open()
    history.source.repair({})
    assert history.source.trouble("demo") == ""
    found = history.generation("demo", 2)
    assert found is not None
    assert (found.release, found.settings, found.cause) == ("/srv/demo/2", settings, Cause.APPLY)
    assert history.same("demo", found.fingerprint) == {2}
    assert (history.current("demo"), history.next_number("demo")) == (2, 4)
    history.close()


def test_what_cannot_be_rebuilt_stays_refused_and_harms_nobody_else(site: Site) -> None:
    site.history.close()
    site.path.unlink()
    (site.directory / "apps/demo/generations/2/generation.json").write_text("broken")
    site.reopened()
    site.repair()
    assert "lacks generation 2 of demo" in site.history.source.trouble("demo")
    assert site.history.source.trouble("other") == ""
    assert site.history.next_number("demo") == 4
    site.roll("other", 2)


def test_what_a_killed_daemon_left_is_no_damage(site: Site) -> None:
    """The files of a generation, their record, even a pin: all of them are there before the rows are."""
    files = {"run": ("", 0o755)}
    site.pins.write_generation("demo", 4, files, "/srv/demo/4")
    site.history._records.write(generation(4), Rollout("demo", 2, 4))
    site.pins.write_generation("new", 1, files, "/srv/new/1")
    site.pins.pin("new", 1, 1)
    assert site.reopened() == ""
    assert (site.history.source.trouble("demo"), site.history.source.trouble("new")) == ("", "")
    assert (site.history.next_number("demo"), site.history.next_number("new")) == (4, 1)


def test_a_record_that_was_not_written_is_written_by_the_next_daemon(site: Site) -> None:
    record = site.directory / "apps/demo/generations/2/generation.json"
    record.write_text(json.dumps({}))
    site.reopened()
    assert json.loads(record.read_text())["generation"]["result"] == "succeeded"
    assert stat_mode(record) == 0o600


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_lock_of_somebody_else_is_told_at_once_and_goes_by(site: Site, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute(f"BEGIN {mode}")
        with pytest.raises(Locked, match="is locked by another process") as refused:
            site.history.move(Rollout("demo", 2, 3))
        assert "repair" not in str(refused.value)
        assert site.history.current("demo") == 2
        other.execute("ROLLBACK")
    site.roll("demo", 4)


def test_locked_when_the_daemon_starts_it_is_read_and_written_later(site: Site) -> None:
    site.history.close()
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert "is locked by another process" in site.reopened()
        assert site.history.current("demo") == 2
        with pytest.raises(StateError, match="is locked by another process"):
            site.repair()
    assert site.history.source.refresh()
    site.roll("demo", 4)


def test_somebody_who_reads_does_no_harm(site: Site) -> None:
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM generations").fetchone()
        site.roll("demo", 4, Result.SUCCEEDED)
    assert site.history.current("demo") == 4


def test_an_older_version_is_brought_forward(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.facts("demo")
    site.history.close()
    more = "ALTER TABLE apps ADD COLUMN note TEXT; CREATE TABLE notes (note TEXT) STRICT;"
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, more))
    assert site.reopened() == ""
    assert site.facts("demo") == before
    [version] = site.history.source._require().execute("PRAGMA user_version").fetchone()
    assert version == 2
    monkeypatch.undo()
    assert "written by a newer deployd (schema version 2; this one knows 1)" in site.reopened()


def test_numbers_of_what_is_forgotten_are_not_given_out_again(site: Site) -> None:
    site.roll("demo", 4, Result.FAILED)
    site.history.saw("demo", 4, 1, "a" * 32, 0.5)
    site.history.prune("demo", {2}, "boot")
    assert [item.number for item in site.history.past("demo")] == [2]
    assert site.history.boots("demo") == []
    assert site.history.next_number("demo") == 5
    site.reopened()
    assert site.history.source.trouble("demo") == ""
    assert site.history.next_number("demo") == 5
