"""Drains on disk, and the files that say that clients may be sent here."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import StateError
from deployd.model.host_drain import HOST, HostDrain
from deployd.state.disk import Disk
from deployd.state.host_drains import HostDrains

APPS = ("demo", "host", "shop")
"""One is called like the file of the host."""


def up_files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory / "up")) for path in (directory / "up").rglob("*") if path.is_file()}


def test_a_drain_lasts_until_it_is_ended(tmp_path: Path) -> None:
    drains = HostDrains(tmp_path)
    drains.show(APPS)
    assert up_files(tmp_path) == {"host", "apps/demo", "apps/host", "apps/shop"}
    drains.drain("shop", 10.0, "migration")
    drains.drain("shop", 20.0)
    drains.show(APPS)
    drains = HostDrains(tmp_path)
    assert drains.of("shop") == HostDrain("shop", 10.0, "migration"), "since the first time, and the reason is kept"
    assert (drains.of("demo"), drains.of(HOST)) == (None, None)
    assert up_files(tmp_path) == {"host", "apps/demo", "apps/host"}
    drains.drain(HOST, 30.0)
    drains.show(APPS)
    assert drains.of("demo") == drains.of("shop") == HostDrain(HOST, 30.0)
    assert up_files(tmp_path) == set()
    assert (drains.undrain(HOST), drains.undrain(HOST)) == (True, False)
    drains.show(APPS)
    assert up_files(tmp_path) == {"host", "apps/demo", "apps/host"}, "an app that was drained itself stays so"
    drains.forget("shop")
    drains.show(["demo"])
    assert up_files(tmp_path) == {"host", "apps/demo"}


def test_a_drain_of_a_rollout_and_one_by_hand_do_not_end_each_other(tmp_path: Path) -> None:
    drains = HostDrains(tmp_path)
    drains.show(APPS)
    drains.begin_rollout("shop", 7, 10.0)
    drains.show(APPS)
    assert drains.of("shop") == HostDrain("shop", 10.0, "rollout to generation 7", 7)
    assert (drains.own("shop"), drains.rollout("demo"), drains.rollout(HOST)) == (None, None, None)
    assert up_files(tmp_path) == {"host", "apps/demo", "apps/host"}
    assert not drains.undrain("shop")
    drains.drain("shop", 20.0, "migration")
    assert drains.of("shop") == HostDrain("shop", 20.0, "migration")
    assert (drains.end_rollout("shop"), drains.end_rollout("shop")) == (True, False)
    drains.show(APPS)
    assert drains.of("shop") == HostDrain("shop", 20.0, "migration")
    assert up_files(tmp_path) == {"host", "apps/demo", "apps/host"}
    drains.begin_rollout("shop", 8, 30.0)
    drains.forget("shop")
    assert drains.of("shop") is None


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40), st.integers(0, 10**10))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, reason: str, since: int) -> None:
    drains = HostDrains(tmp_path_factory.mktemp("state"))
    assert drains.drain("demo", float(since), reason) == drains.own("demo")


def test_a_file_of_an_administrator_counts(tmp_path: Path) -> None:
    drains = HostDrains(tmp_path)
    (tmp_path / "drained").mkdir()
    (tmp_path / "drained/host").touch()
    found = drains.of("demo")
    assert found is not None
    assert (found.app, found.reason) == (HOST, "")


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    class Full(Disk):
        def write(self, path: Path, data: bytes, mode: int) -> None:
            raise OSError(errno.ENOSPC, "full")

    HostDrains(tmp_path).show(APPS)
    with pytest.raises(StateError, match="drained/apps/demo: the disk is full; make room"):
        HostDrains(tmp_path, Full()).drain("demo", 1.0)
    assert HostDrains(tmp_path).of("demo") is None
    assert len(up_files(tmp_path)) == len(APPS) + 1
