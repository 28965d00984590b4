"""A database that another process has locked."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from deployd.errors import Locked, StateError
from deployd.model.generation import Result
from deployd.model.rollout import Rollout
from tests.state.site import Site


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_lock_is_reported_at_once_and_is_temporary(site: Site, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute(f"BEGIN {mode}")
        with pytest.raises(Locked, match="is locked by another process") as refused:
            site.history.move(Rollout("demo", 2, 3))
        assert "repair" not in str(refused.value)
        assert site.history.current("demo") == 2
        other.execute("ROLLBACK")
    site.roll("demo", 4)


def test_a_database_locked_at_the_start_is_used_later(site: Site) -> None:
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


def test_a_reader_does_not_block_writes(site: Site) -> None:
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM generations").fetchone()
        site.roll("demo", 4, Result.SUCCEEDED)
    assert site.history.current("demo") == 4
