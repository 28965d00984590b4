"""Changes of unit files, and the daemon-reload that has systemd read them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class DaemonReload:
    """The machine's, not an app's: unit files change while systemd does not read them, and one reload follows for all
    who have written meanwhile. Nothing else may be awaited in here, or one app waits for another."""

    def __init__(self, reload: Callable[[], Awaitable[None]]) -> None:
        self._reload = reload
        self._turn = asyncio.Lock()
        self._written = 0
        self._read = 0

    async def after(self, write: Callable[[], Awaitable[bool]]) -> bool:
        """Have `write` change unit files and say whether it did, and systemd read them; also what was written before
        and never read, because that reload failed. True if systemd was reloaded for it."""
        async with self._turn:
            changed = True  # if it fails half-way, too
            try:
                changed = await write()
            finally:
                self._written += changed
            mine = self._written
        async with self._turn:  # again, so that all who wait for the first come before the reload
            if self._read >= mine:
                return False
            now = self._written
            await self._reload()
            self._read = now
            return True
