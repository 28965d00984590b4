"""The invocations of an app's instances: to which generation each belongs, its boot time, its last lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from deployd.errors import StateError
from deployd.model import unit_name
from deployd.model.failure import Failure
from deployd.model.instance import Instance, State
from deployd.state.history import History
from deployd.systemd.tail import ReadLines


class Invocations:
    """Records the invocations of one app in the history, and finds the journal of one that failed."""

    def __init__(self, app: str, history: History, tail: ReadLines) -> None:
        self._app = app
        self._history = history
        self._tail = tail
        self._recorded: dict[str, bool] = {}
        """Invocation ID to whether its boot time is recorded, too."""
        self._latest: dict[int, tuple[str, str]] = {}
        """Instance to its present invocation and the one before."""

    def forget(self) -> None:
        """Record all running instances again: the history was replaced."""
        self._recorded.clear()

    def record(self, instances: Iterable[Instance]) -> None:
        """Record new invocations, and boot times once they are known."""
        known = [item for item in instances if item.generation is not None and item.invocation_id]
        for item in known:
            present, _ = self._latest.get(item.number, ("", ""))
            if item.invocation_id != present:
                self._latest[item.number] = item.invocation_id, present
        with contextlib.suppress(StateError):  # the next call retries, once for all instances
            for item in known:
                self._record(item)

    def _record(self, item: Instance) -> None:
        booted, known = item.state is State.READY, self._recorded.get(item.invocation_id)
        if item.generation is not None and (known is None or (booted and not known)):
            boot = item.ready_since - item.started if booted else None
            self._history.saw(self._app, item.generation, item.number, item.invocation_id, boot)
            self._recorded[item.invocation_id] = booted

    async def with_journal(self, failure: Failure, instances: Iterable[Instance]) -> Failure:
        """Return the failure with the last lines that its instance wrote."""
        item = next((item for item in instances if item.number == failure.instance), None)
        if item is None or failure.journal:
            return failure
        present, before = self._latest.get(item.number, (item.invocation_id, ""))
        # An instance that systemd has restarted already has a new invocation: the one before it failed.
        failed = before if item.restarts and item.state is not State.FAILED and before else present
        if not failed:
            return failure
        if failed != item.invocation_id:
            return replace(failure, journal=await self._tail(failed))
        # While systemd waits to restart it, `started` is the time of the crash, not of the start.
        since = item.started - (item.ran or 0.0) - 1.0
        unit = unit_name.instance(self._app, item.number)
        return replace(failure, journal=await self._tail(failed, unit, since))
