"""Errors in carrying out an app's rollout: logged, and either retried or a reason to pause."""

from __future__ import annotations

import logging
import time

from deployd.errors import DeploydError, Locked, StateError

log = logging.getLogger(__name__)

TRIES = 3
"""Unexpected errors in a row after which a rollout pauses."""

APART = 60.0
"""Seconds after which another error counts as unrelated to the one before."""


class Faults:
    """Counts and logs the errors of one app."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._count = 0
        self._last = 0.0
        self._logged = ""

    def note(self, error: Exception, *, rolling: bool) -> DeploydError | None:
        """Log an error; return it if a retry cannot help and a rollout that is `rolling` has to pause.

        That is the case for a full disk, or for a bug of deployd. What systemd refuses now it may do later, and a lock
        of the history ends.
        """
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
