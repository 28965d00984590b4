"""Keeps the history of all apps usable: reopens one that was locked or replaced, rebuilds one that is damaged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from deployd.alarm import Alarm
from deployd.documents import Json
from deployd.documents.status import repaired
from deployd.errors import StateError
from deployd.state.history import History

log = logging.getLogger(__name__)

LOCKED = 1.0
"""Seconds between attempts to open a history that another process has locked."""


class HistoryRecovery:
    """`take_up` lets the controllers of apps continue with what the history says now."""

    def __init__(self, history: History, take_up: Callable[[Iterable[str]], None]) -> None:
        self._history = history
        self._take_up = take_up
        self._retry = Alarm(self.refresh)
        self._stopped = False

    def start(self) -> None:
        """Log what is wrong with the history, if anything, and begin to retry a locked one."""
        self._log_trouble()
        self._retry_locked()

    def stop(self) -> None:
        """Stop retrying; the history is about to be closed."""
        self._stopped = True
        self._retry.close()

    def refresh(self) -> None:
        """Reopen an unusable or replaced history, and let all apps continue with what it says."""
        if self._stopped:
            return
        changed = self._history.source.refresh()
        if changed:
            self._log_trouble()
        self._retry_locked()
        if changed:
            self._take_up(self._history.apps())

    def require(self, name: str) -> None:
        """Raise StateError, which says what to do, unless the history of the app is usable."""
        self.refresh()
        if trouble := self._history.source.trouble(name):
            raise StateError(trouble)

    async def repair(self) -> Json:
        """Rebuild an unusable history from generations and pins, without touching instances. Raises Refused."""
        history = self._history
        damage = await asyncio.to_thread(history.source.examine)
        aside, names = history.source.repair(damage)
        log.warning("%s was rebuilt%s", history.source.path, f"; the old one is {aside}" if aside else "")
        self._take_up(names)
        return repaired(
            history.source.path,
            aside,
            {
                name: (history.current(name), history.rollout(name), history.source.trouble(name))
                for name in sorted(names)
            },
        )

    def _log_trouble(self) -> None:
        troubles = {self._history.source.trouble(name): None for name in ("", *self._history.apps())}
        for trouble in filter(None, troubles):
            log.error("%s", trouble)

    def _retry_locked(self) -> None:
        self._retry.clear()
        if self._history.source.locked:
            self._retry.set(LOCKED)
