"""Checks of files that hang: what waits for them, and what does not."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deployd.apps import app_files
from deployd.apps.app_files import AppFiles
from deployd.errors import NoSuchApp, Refused
from deployd.files import workers as workers_module
from deployd.files.sweep import Shared, Sweep
from deployd.files.workers import KEPT, PLACES, Workers
from tests.config.app_text import TOP

SOON = 0.05
TEXT = "\n".join(f"{key} = {value}" for key, value in TOP.items())


class Hung:
    """A call that hangs until it is released."""

    def __init__(self) -> None:
        self._released = threading.Event()
        self.begun = 0

    def __call__(self, *_: object) -> str:
        self.begun += 1
        self._released.wait(30)
        return "answered"

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def hung() -> Hung:
    return Hung()


def test_results_and_errors_are_passed_on() -> None:
    async def test() -> None:
        workers = Workers()
        assert await workers.run("demo", os.path.basename, "/a/b") == "b"
        for error in (NoSuchApp("gone"), TimeoutError("of the call itself"), OSError(5, "I/O error")):
            with pytest.raises(type(error), match=str(error.args[-1])):
                await workers.run("demo", _raise, error)

    asyncio.run(test())


def _raise(error: Exception) -> None:
    raise error


def test_an_app_whose_files_hang_uses_its_own_places_only(hung: Hung) -> None:
    async def test() -> None:
        workers = Workers()
        for _ in range(PLACES + 2):
            with pytest.raises(Refused, match=r"^a file system of hung has not responded for 0.05 s; check that "):
                await workers.run("hung", hung, deadline=SOON)
        assert hung.begun == PLACES
        with pytest.raises(Refused, match="has not responded for 60 s"):
            await workers.run("hung", hung, deadline=60)  # at once: all places are occupied
        assert await workers.run("demo", os.path.basename, "/a/b") == "b"
        hung.release()
        while workers._of["hung"].given_up:
            await asyncio.sleep(0)
        assert await workers.run("hung", os.path.basename, "/c/d") == "d"

    asyncio.run(test())


def test_a_hanging_call_does_not_keep_the_loop_from_ending(hung: Hung) -> None:
    async def test() -> None:
        with pytest.raises(Refused):
            await Workers().run("hung", hung, deadline=SOON)

    asyncio.run(test())
    hung.release()  # a result that arrives now does no harm


def files(directory: Path, *names: bytes) -> AppFiles:
    for name in names:
        Path(os.fsdecode(os.fsencode(directory) + b"/" + name + b".toml")).write_text(TEXT)
    return AppFiles(directory, Workers())


ODD = (b"a b", b".", b"-x", b"x\ny", b"caf\xe9", b"deployd", b"x" * 200)


def test_files_with_invalid_names_are_reported_but_are_not_apps(tmp_path: Path) -> None:
    async def test() -> None:
        found = files(tmp_path, b"demo", b"shop", *ODD)
        (tmp_path / "notes").write_text("")
        await found.refresh()
        assert found.names == {"demo", "shop"}
        checked = await found.checked()
        assert [
            item.app for item in checked if item.problem and "cannot be the name of an app" in item.problem
        ] == sorted(["a b", ".", "-x", "x\\ny", "caf\\xe9", "deployd", "x" * 200])
        assert len(checked) == 2 + len(ODD)
        assert all(text.isprintable() for item in checked for text in (item.app, item.file, item.problem or ""))

    asyncio.run(test())


def test_a_missing_directory_has_no_apps(tmp_path: Path) -> None:
    async def test() -> None:
        found = AppFiles(tmp_path / "gone", Workers())
        await found.refresh()
        assert found.names == frozenset()

    asyncio.run(test())


def test_a_refresh_sees_files_created_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        found = files(tmp_path, b"demo")
        listed = _counting(monkeypatch)
        await asyncio.gather(*(found.refresh() for _ in range(100)))
        assert listed() <= 2
        files(tmp_path, b"new")
        await found.refresh()
        assert found.names == {"demo", "new"}

    asyncio.run(test())


def _counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls: list[Path] = []
    real = app_files._stems

    def stems(directory: Path) -> set[str]:
        calls.append(directory)
        return real(directory)

    monkeypatch.setattr(app_files, "_stems", stems)
    return lambda: len(calls)


def test_a_hanging_directory_keeps_its_last_contents(
    tmp_path: Path, hung: Hung, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_files, "PATIENCE", SOON)

    async def test() -> None:
        found = files(tmp_path, b"demo")
        await found.refresh()
        with monkeypatch.context() as patch:
            patch.setattr(app_files, "_stems", lambda directory: hung(directory) and {"demo", "new"})
            for _ in range(10):
                await found.refresh()
            assert found.names == {"demo"}
            assert hung.begun == 1
            hung.release()
            while found._slow:
                await asyncio.sleep(0)
        assert found.names == {"demo", "new"}
        await found.refresh()
        assert found.names == {"demo"}

    asyncio.run(test())


def test_a_sweep_skips_names_that_hang(hung: Hung) -> None:
    names = [f"app{number:04}" for number in range(1000)]
    stuck = {"app0000", "app0500", "app0999"}

    def check(name: str) -> str:
        if name == "app0007":
            raise NoSuchApp("gone")
        if name == "app0008":
            raise RuntimeError("a fault")
        return hung() if name in stuck else name.upper()

    async def test() -> None:
        sweep = Sweep(SOON)
        found = await sweep.over(names, check)
        assert found.keys() == set(names)
        assert found["app0001"] == "APP0001"
        assert {name for name, what in found.items() if "has not responded for 0.05 s" in str(what)} == stuck
        assert str(found["app0007"]) == "gone"
        assert str(found["app0008"]) == "app0008 cannot be checked: RuntimeError: a fault"
        await sweep.over(names, check)
        assert hung.begun == 3  # not called again while it hangs
        hung.release()
        while "app0500" in sweep._hung:
            await asyncio.sleep(0)
        assert (await sweep.over(names, check))["app0500"] == "answered"

    asyncio.run(test())


def test_a_run_is_shared_by_the_callers_before_its_start() -> None:
    begun: list[asyncio.Event] = []

    async def make() -> int:
        begun.append(asyncio.Event())
        number = len(begun)
        await begun[-1].wait()
        return number

    async def test() -> None:
        shared = Shared(make)
        first = asyncio.ensure_future(shared.get())
        await asyncio.sleep(0)
        late = [asyncio.ensure_future(shared.get()) for _ in range(3)]
        late[0].cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        begun[0].set()
        assert await first == 1
        while len(begun) < 2:
            await asyncio.sleep(0)
        begun[1].set()
        assert await late[1] == await late[2] == 2
        assert len(begun) == 2

    asyncio.run(test())


def test_calls_one_after_another_share_a_thread(hung: Hung) -> None:
    async def test() -> None:
        workers = Workers()
        threads = {await workers.run("demo", threading.get_ident) for _ in range(20)}
        assert len(threads) == 1
        with pytest.raises(Refused):
            await workers.run("demo", hung, deadline=SOON)
        assert await workers.run("demo", threading.get_ident) not in threads  # that one hangs
        many = threading.Barrier(KEPT + 2)
        await asyncio.gather(*(workers.run(f"app{number}", many.wait) for number in range(KEPT + 2)))
        hung.release()
        while workers._of["demo"].given_up:
            await asyncio.sleep(0)
        assert len(workers_module._Thread._idle) <= KEPT

    asyncio.run(test())
