"""The invocations of an app's instances: to which generation each belongs, its boot time, its last lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from deployd.errors import StateError, SystemdError
from deployd.instances.explanation import COMMANDS, command_line, explained
from deployd.model import unit_name
from deployd.model.failure import Failure
from deployd.model.instance import Instance, State
from deployd.model.instances import differing
from deployd.state.history import History
from deployd.systemd.manager import Systemd
from deployd.systemd.notices import Ended
from deployd.systemd.proxy import SERVICE
from deployd.systemd.tail import Tail

PROMPT = 5.0
"""Seconds within which the probes of the gate begin after READY=1, on a busy machine as well."""
MOST_RECORDED = 4
"""Invocations per instance that are remembered before old ones are forgotten."""


class Invocations:
    """Records the invocations of one app in the history, and finds out why one failed."""

    def __init__(self, app: str, history: History, tail: Tail, systemd: Systemd) -> None:
        self._app = app
        self._history = history
        self._tail = tail
        self._systemd = systemd
        self._recorded: dict[str, float | None] = {}
        """Invocation ID to its boot time, as recorded so far."""
        self._latest: dict[int, tuple[str, str]] = {}
        """Instance to its present invocation and the one before."""
        self._seen: tuple[Instance, ...] = ()
        """The instances that were recorded as they are."""

    def forget(self) -> None:
        """Record all running instances again: the history was replaced."""
        self._recorded.clear()
        self._seen = ()

    def record(self, instances: tuple[Instance, ...]) -> None:
        """Record new invocations, and boot times once they are known. Cheap if no instance has changed."""
        if instances is self._seen:
            return
        _, news = differing(self._seen, instances)
        for item in news:
            present, _ = self._latest.get(item.number, ("", ""))
            if item.generation is not None and item.invocation_id not in ("", present):
                self._latest[item.number] = item.invocation_id, present
        with contextlib.suppress(StateError):  # the next call retries, once for all instances
            for item in news:
                if item.generation is not None and item.invocation_id:
                    self._record(item)
            self._seen = instances
        if len(self._recorded) > MOST_RECORDED * (len(instances) + 1):
            kept = {invocation for of in self._latest.values() for invocation in of}
            self._recorded = {known: boot for known, boot in self._recorded.items() if known in kept}

    def _record(self, item: Instance) -> None:
        # The gate waits for READY=1 and then for the probe, for `gate.timeout` each. Probes of later are no part of the
        # boot: those of a watch, and those of a rollback to instances that have served for long.
        probed = item.probed_since if item.probed_from <= item.ready_since + PROMPT else 0.0
        booted = max(item.ready_since, probed) - item.started if item.state is State.READY else None
        known = self._recorded.get(item.invocation_id)
        new = item.invocation_id not in self._recorded or (booted is not None and booted > (known or 0.0))
        if item.generation is not None and new:
            self._history.saw(self._app, item.generation, item.number, item.invocation_id, booted)
            self._recorded[item.invocation_id] = booted

    async def with_journal(self, failure: Failure, instances: Iterable[Instance]) -> Failure:
        """Return the failure with what the journal says of its instance: its last lines, and systemd's messages."""
        item = next((item for item in instances if item.number == failure.instance), None)
        if item is None or failure.journal:
            return failure
        present, before = self._latest.get(item.number, (item.invocation_id, ""))
        # An instance that systemd has restarted already has a new invocation: the one before it failed.
        unit = unit_name.instance(self._app, item.number)
        restarted = item.restarts > 0 and item.state is not State.FAILED
        failed = (before or await self._tail.before(present, unit)) if restarted else present
        if not failed:
            return failure
        # While systemd waits to restart it, `started` is the time of the crash, not of the start.
        since = item.started - (item.ran or 0.0) - 1.0 if failed == item.invocation_id else None
        account = await self._tail.account(failed, unit, since)
        command = await self._command(unit, account.ended)
        return explained(failure, item.detail, account, self._listen(item), command)

    def _listen(self, item: Instance) -> list[str]:
        with contextlib.suppress(StateError):
            settings = None if item.generation is None else self._history.settings(self._app, item.generation)
            return [] if settings is None else [listen.address for listen in settings.listen]
        return []

    async def _command(self, unit: str, ended: Ended | None) -> str:
        """Return the command line of the control process that failed, "" if none did or it is not known."""
        if ended is None or ended.command not in COMMANDS:
            return ""
        with contextlib.suppress(SystemdError):
            properties = await self._systemd.read(unit, SERVICE, [ended.command])
            return command_line(properties.get(ended.command), ended)
        return ""
