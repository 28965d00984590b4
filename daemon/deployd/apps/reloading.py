"""Reads the history and the app files again, as `systemctl reload deployd` asks."""

from __future__ import annotations

import logging

from deployd.apps.app_files import AppFiles
from deployd.apps.history_recovery import HistoryRecovery

log = logging.getLogger(__name__)


class Reloading:
    """Of all apps. Running instances are not touched."""

    def __init__(self, files: AppFiles, recovery: HistoryRecovery) -> None:
        self._files = files
        self._recovery = recovery

    async def reload(self) -> None:
        """Reopen a history that was unusable or replaced, and log which app files are not valid."""
        self._recovery.refresh()
        found = await self._files.checked()
        for item in found:
            if item.problem is not None:
                log.warning("%s", item.problem)
        log.info("read %d app files in %s", len(found), self._files.directory)
