"""One daemon-reload serves all apps that have written, and none writes during a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from deployd.errors import SystemdError
from deployd.systemd.daemon_reload import DaemonReload
from tests.bus.private_bus import run


class Systemd:
    """Reloads what is `written` once `go` is set. `read`: what each reload has read; `fails`: the reloads that fail."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.read: list[tuple[str, ...]] = []
        self.fails = 0
        self.go = asyncio.Event()
        self.begun = asyncio.Event()

    async def reload(self) -> None:
        before = tuple(self.written)
        self.begun.set()
        await self.go.wait()
        assert tuple(self.written) == before, "written during a reload"
        if self.fails:
            self.fails -= 1
            raise SystemdError("no")
        self.read.append(before)

    def write(self, name: str, changes: bool = True) -> Callable[[], asyncio.Future[bool]]:
        async def write() -> bool:
            if changes:
                self.written.append(name)
            return changes

        return lambda: asyncio.ensure_future(write())


def test_one_reload_serves_all_that_wait_for_the_one_under_way() -> None:
    async def test() -> None:
        systemd = Systemd()
        reload = DaemonReload(systemd.reload)
        first = asyncio.ensure_future(reload.after(systemd.write("a")))
        await systemd.begun.wait()
        others = [asyncio.ensure_future(reload.after(systemd.write(name))) for name in "bcde"]
        systemd.go.set()
        assert await first
        assert sum(await asyncio.gather(*others)) == 1
        assert systemd.read == [("a",), ("a", "b", "c", "d", "e")]

    run(test())


def test_without_a_change_there_is_no_reload() -> None:
    async def test() -> None:
        systemd = Systemd()
        systemd.go.set()
        assert not await DaemonReload(systemd.reload).after(systemd.write("a", changes=False))
        assert systemd.read == []

    run(test())


def test_a_reload_that_failed_is_repeated() -> None:
    async def test() -> None:
        systemd = Systemd()
        systemd.go.set()
        systemd.fails = 1
        reload = DaemonReload(systemd.reload)
        with pytest.raises(SystemdError):
            await reload.after(systemd.write("a"))
        assert await reload.after(systemd.write("a", changes=False))
        assert systemd.read == [("a",)]

    run(test())


def test_files_of_a_write_that_failed_are_read_by_the_next_reload() -> None:
    async def test() -> None:
        systemd = Systemd()
        systemd.go.set()

        async def torn() -> bool:
            raise SystemdError("no")

        reload = DaemonReload(systemd.reload)
        with pytest.raises(SystemdError):
            await reload.after(torn)
        assert await reload.after(systemd.write("a", changes=False))

    run(test())
