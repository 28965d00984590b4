"""What runs of one app: units as systemd has them, probes, listeners, and the records that follow from changes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import compress
from typing import Any

from deployd.instances import listening, prober, watchdog
from deployd.instances.actuator import Actuator
from deployd.instances.crash_loop import CrashLoop
from deployd.instances.invocations import Invocations
from deployd.instances.listening import Listened, ListeningInstances
from deployd.instances.prober import Prober, Result
from deployd.instances.watchdog import Watchdog
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure
from deployd.model.hang import Hang
from deployd.model.instance import Instance
from deployd.model.instances import Instances

Probed = Mapping[int, tuple[str, Result]]
Listening = Mapping[int, Listened]
Hanging = Mapping[int, tuple[str, Hang]]


class Observer:
    """Observes the instances of one app. `changed` is called when they differ from the time before."""

    def __init__(
        self,
        actuator: Actuator,
        prober: Prober,
        invocations: Invocations,
        crash_loop: CrashLoop,
        listening: ListeningInstances,
        watchdog: Watchdog,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._actuator = actuator
        self._prober = prober
        self._invocations = invocations
        self._crash_loop = crash_loop
        self._listening = listening
        self._watchdog = watchdog
        self._changed = changed
        self._seen = Instances.of(())
        self._combined = Instances.of(())
        self._basis: tuple[tuple[Instance, ...], Probed, Listening | None, Hanging] = (), {}, None, {}
        """What `_combined` was made from."""
        self._positions: dict[int, int] = {}
        """Where each instance is in `_combined`."""

    def observe(self) -> Instances:
        """Return the instances, with the results of their probes, what is known of their listeners, and which hang.

        As long as nothing changes it is the same object, and instances that have not changed are: this is called often.
        """
        seen, probed = self._actuator.observe(), self._prober.results
        listened, hanging = self._listening.results, self._watchdog.results
        if any(map(operator.is_not, (seen, probed, listened, hanging), self._basis)):
            self._combine(seen, probed, listened, hanging)
        return self._crash_loop.overlay(self._combined)

    def _combine(
        self, seen: tuple[Instance, ...], probed: Probed, listened: Listening | None, hanging: Hanging
    ) -> None:
        before, probed_before, listened_before, hanging_before = self._basis
        if len(seen) == len(before):
            made = list(self._combined)
            changed = {item.number for item in compress(seen, map(operator.is_not, seen, before))}
            changed |= _changed(probed, probed_before) | _changed(listened or {}, listened_before or {})
            changed |= _changed(hanging, hanging_before)
        else:
            made = list(seen)
            self._positions = {item.number: position for position, item in enumerate(seen)}
            changed = {*self._positions}
        for number in changed & self._positions.keys():
            position = self._positions[number]
            item = prober.overlaid(seen[position], probed.get(number))
            made[position] = watchdog.overlaid(listening.overlaid(item, listened), hanging.get(number))
        self._basis, self._combined = (seen, probed, listened, hanging), self._combined.followed_by(made)

    def update(self, *, busy: bool) -> Instances:
        """Return the instances, having recorded new invocations and acted on crashes. `busy`: a rollout is planned.

        Raises StateError.
        """
        self._listening.update(self._actuator.observe())
        seen = self.observe()
        self._invocations.record(seen)
        self._crash_loop.update(seen, Timestamp.now(), busy=busy)
        if seen != self._seen:
            self._seen = seen
            self._changed()
        return seen

    def retry_crashed(self, *, absent: bool = False) -> bool:
        """Start instances that are kept down after crashes at the next update, because the cause may be gone; with
        `absent`, those that wait for their release. Returns False if there are none."""
        return self._crash_loop.retry_now(absent=absent)

    def probe(self, settings: App, release: str, asked: Iterable[Instance], calm: float = 0.0) -> None:
        """Probe these instances from now on, and no others; `calm` as for Prober.update()."""
        self._prober.update(settings, release, asked, calm)

    def stop_probes(self) -> None:
        """Probe no instance until :meth:`probe` is called, and forget all results."""
        self._prober.clear()

    def watch(self, limit: float, generation: int | None, instances: Iterable[Instance] = ()) -> None:
        """Find those of the `instances` of a generation that hang for `limit` seconds; of None or with 0, none do."""
        self._watchdog.update(limit, generation, instances)

    async def with_journal(self, failure: Failure) -> Failure:
        """Return the failure with the last lines that its instance wrote."""
        return await self._invocations.with_journal(failure, self._seen)

    def forget_recorded(self) -> None:
        """Record all invocations again, because the history was replaced."""
        self._invocations.forget()

    async def stop(self) -> None:
        """Stop the watchdog and the probes, and wait until they have ended."""
        self._watchdog.stop()
        await self._prober.stop()
        await self._listening.stop()


def _changed(now: Mapping[int, Any], before: Mapping[int, Any]) -> set[int]:
    """Return the numbers whose values are other objects than before."""
    if now is before:
        return set()
    return {number for number, value in now.items() if before.get(number) is not value} | (before.keys() - now.keys())
