"""Changes of unit files, and the daemon-reload after which systemd knows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class DaemonReload:
    """Serialises changes of unit files with daemon-reloads, for all apps of the machine.

    Unit files change only while systemd does not read them, and one reload serves all apps that have written before it.
    """

    def __init__(self, reload: Callable[[], Awaitable[None]]) -> None:
        self._reload = reload
        self._turn = asyncio.Lock()
        self._written = 0
        self._read = 0

    async def after(self, write: Callable[[], Awaitable[bool]]) -> bool:
        """Call `write`, which changes unit files and returns whether it did, and reload systemd if so.

        A reload that failed earlier is repeated as well. Returns True if systemd was reloaded. All other apps wait for
        `write`, which must await nothing else.
        """
        async with self._turn:
            changed = True  # also if it fails half-way
            try:
                changed = await write()
            finally:
                self._written += changed
            mine = self._written
        async with self._turn:  # once more, so that everyone who waits for the first turn writes before the reload
            if self._read >= mine:
                return False
            now = self._written
            await self._reload()
            self._read = now
            return True
