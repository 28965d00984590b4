"""What runs of one app: units as systemd has them, probes, listeners, and the records that follow from changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from deployd.instances import listening, prober
from deployd.instances.actuator import Actuator
from deployd.instances.crash_loop import CrashLoop
from deployd.instances.invocations import Invocations
from deployd.instances.listening import Listened, ListeningInstances
from deployd.instances.prober import Prober, Result
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure
from deployd.model.instance import Instance


class Observer:
    """Observes the instances of one app. `changed` is called when they differ from the time before."""

    def __init__(
        self,
        actuator: Actuator,
        prober: Prober,
        invocations: Invocations,
        crash_loop: CrashLoop,
        listening: ListeningInstances,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._actuator = actuator
        self._prober = prober
        self._invocations = invocations
        self._crash_loop = crash_loop
        self._listening = listening
        self._changed = changed
        self._seen: tuple[Instance, ...] = ()
        self._combined: tuple[Instance, ...] = ()
        self._basis: tuple[object, ...] = ()
        """What `_combined` was made from."""
        self._each: dict[int, tuple[tuple[object, ...], Instance]] = {}
        """Each instance, and what it was made from."""

    def observe(self) -> tuple[Instance, ...]:
        """Return the instances, with the results of their probes and what is known of their listeners.

        As long as nothing changes it is the same object, and instances that have not changed are: this is called often.
        """
        seen, probed, listened = self._actuator.observe(), self._prober.results, self._listening.results
        basis = seen, probed, listened
        if basis != self._basis:
            self._each = {item.number: self._made(item, probed, listened) for item in seen}
            self._basis, self._combined = basis, tuple(made for _, made in self._each.values())
        return self._crash_loop.overlay(self._combined)

    def _made(
        self, item: Instance, probed: Mapping[int, tuple[str, Result]], listened: Mapping[int, Listened] | None
    ) -> tuple[tuple[object, ...], Instance]:
        number = item.number
        basis = item, probed.get(number), None if listened is None else listened.get(number)
        known = self._each.get(number)
        if known is not None and known[0] == basis:
            return known
        return basis, listening.overlaid(prober.overlaid(item, probed.get(number)), listened)

    def update(self, *, busy: bool) -> tuple[Instance, ...]:
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

    async def with_journal(self, failure: Failure) -> Failure:
        """Return the failure with the last lines that its instance wrote."""
        return await self._invocations.with_journal(failure, self._seen)

    def forget_recorded(self) -> None:
        """Record all invocations again, because the history was replaced."""
        self._invocations.forget()

    async def stop(self) -> None:
        """Stop the probes and wait until they have ended."""
        await self._prober.stop()
        await self._listening.stop()
