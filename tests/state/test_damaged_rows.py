"""Damaged rows of one app: they affect that app only."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from deployd.errors import StateError
from deployd.model.generation import Result
from deployd.state import repair
from tests.state.site import REMEDY, Site, stat_mode

REST = "'', 0, 0, '[]', '', '[]', 0, 0, 0, '', NULL"


ROWS: dict[str, str] = {
    "settings that are not JSON": "UPDATE generations SET settings = '{broken' WHERE app = 'demo' AND number = 2",
    "settings of another type": "UPDATE generations SET settings = '[]' WHERE app = 'demo' AND number = 2",
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
    "a current generation that does not exist": "UPDATE apps SET current = 7 WHERE name = 'demo'",
    "no app": "DELETE FROM apps WHERE name = 'demo'",
    "the current generation is missing": "DELETE FROM generations WHERE app = 'demo' AND number = 2",
    "crashes of another type": "INSERT INTO crashes VALUES ('demo', 1, 'boot', 'null')",
}


@pytest.mark.parametrize("kind", ROWS)
def test_damaged_rows_affect_their_app_only(site: Site, kind: str) -> None:
    before = site.facts("demo")
    site.history.close()
    site.sql(ROWS[kind])
    assert site.reopened() == ""
    source = site.history.source
    trouble = source.trouble("demo")
    assert trouble.endswith(f"; {REMEDY}")
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
    assert site.history.rollout("other") == rollout, "the repair does not touch rollouts of other apps"
    with contextlib.closing(sqlite3.connect(aside)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_text_of_a_damaged_row_is_shortened_and_escaped(site: Site) -> None:
    site.history.close()
    site.sql("UPDATE generations SET cause = char(27) || hex(zeroblob(100000)) WHERE app = 'demo'")
    site.sql("INSERT INTO apps VALUES ('../..', 1, 1), (char(10), 1, 1), ('', 1, 1)")
    site.reopened()
    assert site.history.apps() == ["demo", "other"]
    trouble = site.history.source.trouble("demo")
    assert len(trouble) < 400
    assert trouble.isprintable()


def test_unreadable_pins_affect_their_app_only(site: Site) -> None:
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


def test_an_unreadable_row_of_an_old_generation_affects_its_queries_only(site: Site) -> None:
    before = site.facts("demo")
    site.history.close()
    site.sql("UPDATE generations SET settings = 'null' WHERE app = 'demo' AND number = 1")
    assert (site.reopened(), site.history.source.trouble("demo")) == ("", "")
    with pytest.raises(StateError, match=f"has rows of demo that cannot be read .*; {REMEDY}"):
        site.history.generation("demo", 1)
    site.roll("demo", 4, Result.ABORTED)
    assert [item.number for item in site.history.entries("demo", 9)] == [4, 3, 2, 1]
    site.repair()
    assert site.facts("demo") != before
    assert site.history.generation("demo", 1) is not None


def test_a_backup_older_than_the_running_generation_is_not_used(site: Site) -> None:
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


def test_a_history_of_another_machine_is_not_used(site: Site, tmp_path: Path) -> None:
    before = site.facts("demo")
    other = Site(tmp_path / "other")
    other.sql("UPDATE generations SET release = '/srv/else'")
    other.history.close()
    site.history.close()
    shutil.copy(other.path, site.path)
    site.reopened()
    assert "disagrees with the record on disk about generation 2 of demo" in site.history.source.trouble("demo")
    record = site.directory / "apps/demo/generations/2/generation.json"
    assert json.loads(record.read_text())["generation"]["release"] == "/srv/demo/2", "the record is unchanged"
    site.path.unlink()
    site.reopened()
    assert site.facts("demo") == before


def test_a_repair_on_a_full_disk_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.history.close()
    site.sql(ROWS["an unknown result"])
    site.reopened()
    files = {path.name for path in site.directory.iterdir()}

    def full(path: Path, db: sqlite3.Connection, *_: object) -> Path:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(repair, "replace_rows", full)
    with pytest.raises(StateError, match="cannot be repaired: database or disk is full"):
        site.repair()
    monkeypatch.undo()
    assert {path.name for path in site.directory.iterdir()} == files
    assert site.history.source.trouble("demo") != ""
    assert site.repair()[1] == {"demo"}
