"""Directories of units are listed again when they have changed, and only then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from deployd.units.listing import SETTLED, Listing


def test_names_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    listing = Listing()
    names = [f"{app}@{number}.service" for app in ("a", "ab", "b") for number in range(1, 4)]
    for name in names:
        (tmp_path / name).touch()
        assert name in [*listing.starting_with(tmp_path, "")]
    assert [*listing.starting_with(tmp_path, "a@")] == names[:3]
    assert [*listing.starting_with(tmp_path, "c")] == []
    (tmp_path / "a@2.service").unlink()
    assert [*listing.starting_with(tmp_path, "a@")] == ["a@1.service", "a@3.service"]
    assert [*listing.starting_with(tmp_path / "gone", "a")] == []


def test_a_directory_that_has_not_changed_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.service").touch()
    listed: list[Path] = []

    def list_directory(path: Path) -> list[str]:
        listed.append(path)
        return ["a.service"]

    monkeypatch.setattr("os.listdir", list_directory)
    listing, now = Listing(), time.time_ns()
    for ago, times in ((2 * SETTLED, 1), (0, 3), (3 * SETTLED, 1), (-SETTLED, 3)):
        listed.clear()
        os.utime(tmp_path, ns=(now, now - ago))
        for _ in range(3):
            assert [*listing.starting_with(tmp_path, "a")] == ["a.service"]
        assert len(listed) == times, ago
