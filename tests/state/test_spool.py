"""Documents that wait to be delivered."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from deployd.errors import StateError
from deployd.state.disk import Disk
from deployd.state.spool import MOST, Spool


def test_documents_are_delivered_in_their_order_and_only_to_root(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "notifications")
    assert spool.pending("demo") == []
    for text in ("ü", "second", "third"):
        spool.add("demo", text)
    spool.add("other", "x")
    first, second, third = spool.pending("demo")
    assert [spool.read(path) for path in (first, second, third)] == ["ü", "second", "third"]
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    spool.remove(first)
    spool.add("demo", "fourth")
    assert [spool.read(path) for path in spool.pending("demo")] == ["second", "third", "fourth"]
    spool.forget("demo")
    spool.forget("demo")
    assert (spool.pending("demo"), len(spool.pending("other"))) == ([], 1)


def test_documents_do_not_pile_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(MOST):
        spool.add("demo", str(number))
    with pytest.raises(StateError, match="100 notifications of demo wait"):
        spool.add("demo", "one more")
    spool.add("other", "of another app")


def test_a_document_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    class Full(Disk):
        def write(self, path: Path, data: bytes, mode: int) -> None:
            super().write(path, data[:1], mode)
            raise OSError(errno.ENOSPC, "full")

    spool = Spool(tmp_path, Full())
    with pytest.raises(StateError, match="the disk is full; make room"):
        spool.add("demo", "text")
    assert spool.pending("demo") == []
    assert list((tmp_path / "demo").iterdir()) == []
