"""Which invocation of an instance was whose, how long it took to be ready, and what it said before it died."""

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
    """Sees every change of the app's instances; writes into the history what later questions need."""

    def __init__(self, app: str, history: History, tail: ReadLines) -> None:
        self._app = app
        self._history = history
        self._tail = tail
        self._recorded: dict[str, bool] = {}
        """Invocation ID to whether its boot time is written down, too."""
        self._lives: dict[int, tuple[str, str]] = {}
        """Instance to its present invocation and the one before."""

    def forget(self) -> None:
        """Record all running instances again: the history was replaced."""
        self._recorded.clear()

    def look(self, instances: Iterable[Instance]) -> None:
        """Write down the invocations that are new, and boot times once they are known."""
        known = [item for item in instances if item.generation is not None and item.invocation_id]
        for item in known:
            present, _ = self._lives.get(item.number, ("", ""))
            if item.invocation_id != present:
                self._lives[item.number] = item.invocation_id, present
        with contextlib.suppress(StateError):  # retried at the next look, once for all instances
            for item in known:
                self._record(item)

    def _record(self, item: Instance) -> None:
        booted, known = item.state is State.READY, self._recorded.get(item.invocation_id)
        if item.generation is not None and (known is None or (booted and not known)):
            boot = item.ready_since - item.started if booted else None
            self._history.saw(self._app, item.generation, item.number, item.invocation_id, boot)
            self._recorded[item.invocation_id] = booted

    async def testify(self, failure: Failure, instances: Iterable[Instance]) -> Failure:
        """The failure with the last lines that its instance wrote."""
        item = next((item for item in instances if item.number == failure.instance), None)
        if item is None or failure.journal:
            return failure
        present, before = self._lives.get(item.number, (item.invocation_id, ""))
        # What systemd has started again already has other words to say.
        died = before if item.restarts and item.state is not State.FAILED and before else present
        if not died:
            return failure
        if died != item.invocation_id:
            return replace(failure, journal=await self._tail(died))
        # `started` may be when the wait for its automatic restart began, which is when it died.
        since = item.started - (item.ran or 0.0) - 1.0
        return replace(failure, journal=await self._tail(died, unit_name.instance(self._app, item.number), since))
