"""Asks the server of an instance that gets no new connections to have its clients leave ([drain] signal, command).

What is sent is what the generation of the instance says, not that which replaces it: another program may not know the
signal, and would be ended by it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from deployd.errors import StateError, SystemdError
from deployd.instances.commands import Commands
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.instance import Instance, State
from deployd.routing.backend import Backend
from deployd.state.history import History
from deployd.systemd import signals
from deployd.systemd.manager import Systemd
from deployd.systemd.transient import Transient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be sent to one instance, once. `send` never raises an error."""

    close_after: float
    """Seconds that its clients get to leave."""
    send: Callable[[], Awaitable[None]]


class DrainNotices:
    """Sends the notices of one app."""

    def __init__(self, app: str, systemd: Systemd, history: History, transient: Transient, commands: Commands) -> None:
        self._app = app
        self._systemd = systemd
        self._history = history
        self._transient = transient
        self._commands = commands
        self._sent: dict[int, str] = {}
        """Instances that got their notice, by number, and their invocation IDs."""

    def of(self, instance: Instance) -> Notice | None:
        """Return the notice for an instance; None if it gets none, or has got it."""
        if instance.generation is None or instance.state is not State.READY:
            return None
        if self._sent.get(instance.number) == instance.invocation_id:
            return None
        try:
            generation = self._history.generation(self._app, instance.generation)
        except StateError as error:
            log.warning("%s: instance %d is stopped without a notice: %s", self._app, instance.number, error)
            return None
        if generation is None or not generation.settings.drain.gives_notice:
            return None
        settings, release = generation.settings, generation.release
        return Notice(settings.drain.close_after, lambda: self._send(instance, settings, release))

    async def drain(self, backend: Backend, instance: Instance, settings: App, *, waits: bool) -> int | None:
        """Send no new connections to an instance, and have its clients leave. Return what Backend.drain() does.

        `waits`: wait for the end of its connections.
        """
        number, notice, close_after = instance.number, self.of(instance), settings.drain.close_after

        async def ask(connections: int) -> None:
            if notice is not None:
                await backend.pace(number, connections)
                await notice.send()

        if notice is not None:
            close_after = max(close_after, notice.close_after)
        drain = replace(settings.drain, close_after=close_after if waits else 0.0)
        return await backend.drain(number, replace(settings, drain=drain), None if notice is None else ask)

    def forget(self, number: int) -> None:
        """Send a notice again if the instance is drained once more: it is about to serve again."""
        self._sent.pop(number, None)

    async def _send(self, instance: Instance, settings: App, release: str) -> None:
        self._sent[instance.number] = instance.invocation_id
        try:
            if settings.drain.signal:
                problem = await self._signal(instance, settings.drain.signal)
            else:
                problem = await self._run(instance, settings, release)
        except SystemdError as error:
            problem = str(error)
        if problem:
            log.warning("%s: clients of instance %d are not asked to leave: %s", self._app, instance.number, problem)

    async def _signal(self, instance: Instance, name: str) -> str:
        """Send the signal, or return why not."""
        if not signals.handles(instance.main_pid, name):
            return f"{name} would end its main process, which does not handle it ([drain] signal)"
        await self._systemd.signal_main(unit_name.instance(self._app, instance.number), name)
        return ""

    async def _run(self, instance: Instance, settings: App, release: str) -> str:
        """Run the command, or return what went wrong. Raises SystemdError."""
        drain = settings.drain
        command = await self._commands.of_instance(
            settings, instance, drain.command, "drain", release=release, timeout=drain.close_after
        )
        outcome = await self._transient.run(unit_name.drain_command(self._app, instance.number), command)
        return "" if outcome.succeeded else f"{' '.join(drain.command)} {outcome}"
