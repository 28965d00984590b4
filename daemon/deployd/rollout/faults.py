"""What goes wrong in carrying out an app's rollout: logged, tried again, or paused for."""

from __future__ import annotations

import logging
import time

from deployd.errors import DeploydError, Locked, StateError

log = logging.getLogger(__name__)

TRIES = 3
"""So many unexpected errors in a row are no accident: a rollout pauses for the last of them."""

APART = 60.0
"""Seconds between two errors that have nothing to do with each other."""


class Faults:
    """Of one app."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._count = 0
        self._last = 0.0
        self._logged = ""

    def note(self, error: Exception, *, rolling: bool) -> DeploydError | None:
        """Log an error. Returns what a rollout that is `rolling` is to pause for, since trying again will not mend it:
        a full disk, or a fault of ours. systemd may do tomorrow what it refuses today, and a lock ends."""
        if isinstance(error, StateError) and not isinstance(error, Locked) and rolling:
            log.error("%s: %s", self._app, error)
            return error
        if isinstance(error, DeploydError):
            log.warning("%s: %s; trying again", self._app, error)
            return None
        now = time.monotonic()
        self._count = 1 if now > self._last + APART else self._count + 1
        self._last = now
        if repr(error) != self._logged:
            self._logged = repr(error)
            log.error("%s: unexpected error; trying again", self._app, exc_info=error)
        if not rolling or self._count < TRIES:
            return None
        self._count = 0
        return DeploydError(f"internal error {error!r}; its traceback is in the journal of deployd.service")
