"""Writes the events of apps to the journal: each thing once.

A reason is in the message that comes first, and in the field DEPLOYD_REASON of all events that have it: when a rollout
fails, the first one says why, the next one that it is rolled back, and the last one how it ended.
"""

from __future__ import annotations

import logging
from typing import Any

from deployd.model.event import EventName
from deployd.model.scope import SYSTEM, JournalFields
from deployd.systemd import journal

log = logging.getLogger(__name__)

_LATER = frozenset({EventName.ROLLING_BACK, EventName.PAUSED, EventName.FINISHED, EventName.TAKEN_BACK})
"""Events with the reason of one before."""


class EventLog:
    """Of all apps."""

    def __init__(self, names: JournalFields = SYSTEM.journal) -> None:
        self._names = names
        self._said: dict[str, set[str]] = {}
        """Reasons by app, of the rollout in progress."""

    def write(self, app: str, fields: dict[str, Any]) -> None:
        """Write the entry of an event."""
        event, said = fields["event"], self._said.setdefault(app, set())
        reason = str(fields.get("reason") or "")
        extra = journal.fields(app, event, fields, self._names)
        repeated = event in _LATER and reason in said
        sentence = journal.sentence(app, event, {**fields, "reason": ""} if repeated else fields)
        log.log(journal.level(event, fields), "%s", sentence, extra=extra)
        if event in (EventName.STARTED, EventName.FINISHED):
            said.clear()
        if reason:
            said.add(reason)
