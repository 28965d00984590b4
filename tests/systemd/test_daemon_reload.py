"""One daemon-reload for all who have written, and none while somebody writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from deployd.errors import SystemdError
from deployd.systemd.daemon_reload import DaemonReload
from tests.bus.private_bus import run


class Systemd:
    """Reads what is `written` when it is told to go on; `read` is what it has read, `fails` how often it will not."""

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
        assert tuple(self.written) == before, "somebody wrote while systemd read"
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


def test_all_who_wait_while_systemd_reads_are_read_next() -> None:
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


def test_nothing_new_is_no_reason() -> None:
    async def test() -> None:
        systemd = Systemd()
        systemd.go.set()
        assert not await DaemonReload(systemd.reload).after(systemd.write("a", changes=False))
        assert systemd.read == []

    run(test())


def test_what_was_never_read_is_read_with_the_next() -> None:
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


def test_what_was_written_by_halves_is_read_with_the_next() -> None:
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
