"""Removed paths are noticed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from deployd.routing import path_watch
from deployd.routing.path_watch import PathWatch


def noticed(paths: list[Path], act: Callable[[], object]) -> bool:
    """True if a watch of `paths` notices what `act` does."""

    async def work() -> bool:
        calls: list[None] = []
        watch = PathWatch(lambda: calls.append(None))
        watch.follow(map(str, paths))
        act()
        for _ in range(3):  # the kernel queues an event before the call that causes it returns
            await asyncio.sleep(0)
        watch.close()
        return bool(calls)

    return asyncio.run(work())


@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.rename(path.with_name("other"))])
def test_a_path_that_is_removed_or_moved_away(tmp_path: Path, how: Callable[[Path], object]) -> None:
    path = tmp_path / "a.sock"
    path.touch()
    assert noticed([path, tmp_path / "b.sock"], lambda: how(path))


def test_other_names_do_not_matter(tmp_path: Path) -> None:
    path, other = tmp_path / "a.sock", tmp_path / "a.sock.2"
    path.touch()
    other.touch()
    assert not noticed([path], other.unlink)
    assert not noticed([path], path.touch)


def test_the_directory_may_vanish_or_be_missing(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    assert noticed([directory / "a.sock"], directory.rmdir)
    assert not noticed([directory / "a.sock"], directory.mkdir)


def test_without_another_inotify_instance_nothing_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_result: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(path_watch, "_checked", refuse)
    assert not noticed([tmp_path / "a.sock"], tmp_path.stat)
    assert "see max_user_instances" in caplog.text


def test_a_watch_can_be_changed_and_closed_again(tmp_path: Path) -> None:
    async def work() -> None:
        calls: list[None] = []
        watch = PathWatch(lambda: calls.append(None))
        watch.close()
        for name in ("a", "b"):
            (tmp_path / name).touch()
            watch.follow([str(tmp_path / name)])
        (tmp_path / "a").unlink()
        watch.follow([str(tmp_path / "b")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not calls
        watch.follow([])
        (tmp_path / "b").unlink()
        await asyncio.sleep(0)
        assert not calls

    asyncio.run(work())
