"""The instances of one app: observes them, and carries out the planner's actions on them.

The shell under the planner: it runs the jobs and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Set
from dataclasses import replace
from itertools import compress
from types import MappingProxyType
from typing import Any, NamedTuple

from deployd.instances.drain_notice import DrainNotices
from deployd.instances.freezer import Freezer
from deployd.instances.start_problem import start_problem
from deployd.instances.stops import Stops
from deployd.model import unit_name
from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.app import App
from deployd.model.instance import Instance, State
from deployd.routing import Router
from deployd.state.pins import Pins, StandbyRecord
from deployd.systemd import observe
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import Properties, UnitRefused

log = logging.getLogger(__name__)

Kind = type[Start] | type[Stop] | type[Freeze] | type[Thaw]

RETRY = 1.0
"""Seconds until a failed action may be tried again."""

JOB_MARGIN = 30.0
"""Seconds that systemd gets to end a job, beyond the time-out of the unit."""


class _Basis(NamedTuple):
    """What instances are made from, apart from their mirrors."""

    revision: int = -1
    units: Mapping[int, str] = MappingProxyType({})
    pins: Mapping[int, int] = MappingProxyType({})
    aside: Mapping[int, StandbyRecord] = MappingProxyType({})
    kinds: Mapping[int, Kind] = MappingProxyType({})
    refusals: Mapping[int, str] = MappingProxyType({})
    details: Mapping[int, str] = MappingProxyType({})

    def changed(self, before: _Basis, mirrors: list[Properties], mirrored: list[Properties]) -> Iterable[int]:
        """Return the instances that may differ from those made from `before` and `mirrored`."""
        if self.units is not before.units:
            return self.units.keys()
        found = set[int]()
        if mirrors is not mirrored:
            found.update(compress(self.units, map(operator.is_not, mirrors, mirrored)))
        for now, then in zip(self[2:], before[2:], strict=True):
            if now is not then:
                found.update(number for number in now if now[number] != then.get(number))
                found.update(then.keys() - now.keys())
        return found


class Actuator:
    """Acts on `NAME@N.service` for all N.

    `changed` is called when the plan may change; `stopped` when an instance has stopped and its pin is removed, with
    the number of connections it had when it was stopped, if known, and with how it failed to end as it was asked to;
    `failed` with the error of an action that could not be carried out. Such an action counts as under way for RETRY
    seconds more; otherwise it would be retried at once.
    """

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        pins: Pins,
        router: Router,
        freezer: Freezer,
        stops: Stops,
        notices: DrainNotices,
        *,
        changed: Callable[[], None],
        stopped: Callable[[Stop, int | None, str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._app = app
        self._systemd = systemd
        self._pins = pins
        self._router = router
        self._freezer = freezer
        self._stops = stops
        self._notices = notices
        self._changed = changed
        self._stopped = stopped
        self._failed = failed
        self._jobs: dict[int, tuple[Kind, asyncio.Task[None]]] = {}
        self._requesting = asyncio.Semaphore(4)
        """Of many starts the first are requested before systemd has loaded the units of all."""
        self._refusals: dict[int, str] = {}
        self._details: dict[int, str] = {}
        self._units: dict[int, str] = {}
        """The known instances and their units, by number."""
        self._each: dict[int, tuple[tuple[object, ...], Instance]] = {}
        """Each instance, and what it was made from."""
        self._items: dict[int, Instance] = {}
        self._mirrors: list[Properties] = []
        self._seen: tuple[Instance, ...] = ()
        self._basis = _Basis()

    def unit(self, number: int) -> str:
        return unit_name.instance(self._app, number)

    async def discover(self) -> None:
        """Find the instances that have a pin or a loaded unit, and read their units. Raises SystemdError."""
        names = await self._systemd.list_units(unit_name.instance(self._app, "*"))
        loaded = (unit_name.instance_number(self._app, name) for name in names)
        self._know({*self._pins.held(self._app), *(number for number in loaded if number is not None)})
        await self._systemd.watch_all(self._units.values())

    def forget(self) -> None:
        """Stop watching the units, because the app was removed."""
        for unit in self._units.values():
            self._systemd.unwatch(unit)
        self._units = {}
        self._each.clear()

    def owns(self, unit: str) -> bool:
        """True if `unit` belongs to an instance of the app; "" stands for all units."""
        return unit == "" or unit_name.belongs_to_instances(self._app, unit)

    def observe(self) -> tuple[Instance, ...]:
        """Return the instances; an action that is queued counts as begun. Raises StateError.

        As long as nothing changes it is the same object, and instances that have not changed are.
        """
        pins, aside = self._pins.read(self._app), self._pins.standby(self._app)
        before, revision = self._basis, self._systemd.revision
        if pins is not before.pins or aside is not before.aside:
            self._know(pins.keys() | aside.keys())
        kinds = {number: kind for number, (kind, _) in self._jobs.items()}
        basis = _Basis(revision, self._units, pins, aside, kinds, self._refusals.copy(), self._details.copy())
        if basis != before:
            mirrors = self._mirrors
            if revision != before.revision or self._units is not before.units:
                mirrors = self._systemd.mirrored(self._units.values())
            for number in basis.changed(before, mirrors, self._mirrors):
                mirror = self._systemd.properties(self._units[number])
                self._make(number, mirror, pins.get(number), aside.get(number), kinds.get(number))
            if self._units is not before.units:
                self._items = {number: self._each[number][1] for number in self._units}
            if self._seen != (seen := tuple(self._items.values())):  # unchanged ones are the same objects
                self._seen = seen
            self._basis, self._mirrors = basis, mirrors
        return self._seen

    def _know(self, numbers: Set[int]) -> None:
        """Observe these instances from now on."""
        if not numbers <= self._units.keys():
            self._units = {number: self.unit(number) for number in sorted(numbers | self._units.keys())}

    def _described(self, item: Instance, job: Kind | None) -> Instance:
        """Return the instance as it is once its job has begun, with the reason of its last failure."""
        if job is Start and item.state is State.INACTIVE:
            item = replace(item, state=State.STARTING)
        elif job in (Stop, Freeze):
            item = replace(item, state=State.STOPPING)
        elif job is Thaw and item.state in (State.STANDBY, State.READY):
            item = replace(item, state=State.STARTING)
        elif item.state is State.INACTIVE and item.number in self._refusals:
            item = replace(item, state=State.FAILED, detail=self._refusals[item.number], refused=True)
        if item.detail:
            self._details[item.number] = item.detail
        elif item.restarts or item.state is State.FAILED:
            # systemd has restarted it already; the reason of the crash was seen before.
            item = replace(item, detail=self._details.get(item.number, observe.RESTARTED))
        return item

    def _mirrored(self, number: int) -> Instance:
        """Return an instance as the mirror has it, whatever its pin."""
        return observe.instance(number, None, self._systemd.properties(self.unit(number)))

    def _make(
        self, number: int, properties: Properties, pin: int | None, aside: StandbyRecord | None, job: Kind | None
    ) -> None:
        """Make an instance, unless what it is made from has stayed the same."""
        basis = properties, pin, aside, job, self._refusals.get(number), self._details.get(number)
        known = self._each.get(number)
        if known is not None and known[0] == basis:
            return
        made = observe.instance(number, pin, properties, None if aside is None else aside.generation)
        made = self._described(made, job)
        if known is not None and known[1] == made:
            made = known[1]  # a signal need not change anything that counts
        self._each[number] = (*basis[:-1], self._details.get(number)), made
        self._items[number] = made

    def act(self, action: Action, settings: App) -> None:
        """Begin an action by the settings of its goal; it calls `changed` at its end. Raises StateError."""
        match action:
            case Adopt(number, generation):
                self._pins.pin(self._app, number, generation)
                self._changed()
            case Unpin(number):
                self._pins.unpin(self._app, number)
                self._changed()
            case Start(number, generation):
                self.start_all((number,), generation, settings)
            case Stop(number):
                self._begin(number, Stop, self._stop(action, settings))
            case Freeze(number):
                self._begin(number, Freeze, self._freeze(action, settings))
            case Thaw(number):
                self._begin(number, Thaw, self._thaw(action))

    def start_all(self, numbers: Collection[int], generation: int, settings: App) -> None:
        """Begin starts, as `act` does. Raises StateError if a pin cannot be written; then none begins."""
        # Not in the tasks: a starting instance without a pin would be taken for an old one.
        self._pins.pin_all(self._app, numbers, generation)
        for number in numbers:
            self._begin(number, Start, self._start(Start(number, generation), settings.pace.deadline))

    def is_busy(self, number: int) -> bool:
        """True if an action on this instance is under way."""
        return number in self._jobs

    async def reset(self, number: int) -> None:
        """Remove the pin of an instance that is down, and its failed state. Raises StateError and SystemdError."""
        self._pins.unpin(self._app, number)
        await self._systemd.reset_failed(self.unit(number))

    async def stop(self) -> None:
        """Cancel all actions; jobs that systemd has accepted continue."""
        tasks = [task for _, task in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, number: int, kind: Kind, work: Coroutine[Any, Any, None]) -> None:
        previous = self._jobs.get(number)
        if previous is not None and previous[0] is kind:
            work.close()
            return
        if previous is not None and previous[0] is Start:
            # systemd cancels the job of a start that a stop replaces. One that is still about to be requested, because
            # its socket is being opened, would start the instance after the stop.
            previous[1].cancel()
        task = asyncio.ensure_future(self._guard(number, work))
        self._jobs[number] = (kind, task)
        self._know({number})

    async def _guard(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._failed(error)
            if number in self._jobs and self._jobs[number][1] is asyncio.current_task():
                self._router.backend.undrain(number)
                await asyncio.sleep(RETRY)
        finally:
            if number in self._jobs and self._jobs[number][1] is asyncio.current_task():
                del self._jobs[number]
            self._changed()

    async def _start(self, action: Start, timeout: float) -> None:
        unit = self.unit(action.number)
        self._refusals.pop(action.number, None)
        self._details.pop(action.number, None)
        try:
            async with self._requesting:
                if (await self._systemd.watch(unit)).get("NRestarts"):
                    # A unit that was stopped while it waited for its automatic restart keeps NRestarts through the
                    # next start, which would then be taken for an automatic restart after a crash.
                    await self._systemd.reset_failed(unit)
                await self._router.backend.open(action.number)
                job = await self._systemd.start(unit)
        except UnitRefused as error:
            self._refused(action.number, str(error))
            return
        result = await self._result(job, timeout)
        # The first signal of a unit that was not loaded before is UnitNew, which carries no state: read it. If the
        # mirror says ready, a signal said so, and systemd sends the properties of a service before its state.
        if self._mirrored(action.number).state is not State.READY:
            await self._systemd.refresh(unit)
        if self._mirrored(action.number).state is State.INACTIVE and result != "unknown":
            self._refused(action.number, await start_problem(self._systemd, unit, result))

    def _refused(self, number: int, why: str) -> None:
        """Remember why a start had no effect, unless a stop replaced it and is the reason."""
        if number in self._jobs and self._jobs[number][1] is asyncio.current_task():
            self._refusals[number] = f"was not started: {why}"

    async def _stop(self, action: Stop, settings: App) -> None:
        unit = self.unit(action.number)
        await self._freezer.wake(action.number)  # first, so that it can answer connections that wait there
        left = await self._drain(action, settings)
        await self._router.backend.pace(action.number, left or 0)
        before = self._mirrored(action.number)
        await self._result(await self._systemd.stop(unit), 2 * settings.stop.timeout + JOB_MARGIN)
        state = self._mirrored(action.number).state
        if state not in (State.INACTIVE, State.FAILED):
            await self._systemd.refresh(unit)
            state = self._mirrored(action.number).state
        if state not in (State.INACTIVE, State.FAILED):
            return
        problem = ""
        if before.state not in (State.FAILED, State.INACTIVE) and not action.keep:
            problem = await self._stops.problem(unit, before.invocation_id, settings.exec)
        if state is State.FAILED:
            await self._systemd.reset_failed(unit)
            await self._systemd.refresh(unit)
        self._refusals.pop(action.number, None)
        self._details.pop(action.number, None)
        if not action.keep:
            self._pins.unpin(self._app, action.number)
            self._stopped(action, left, problem)
        await self._router.backend.close(action.number)

    async def _freeze(self, action: Freeze, settings: App) -> None:
        left = await self._drain(action, settings)
        if await self._freezer.freeze(action, settings, left):
            await self._stop(Stop(action.number, action.generation), settings)

    async def _drain(self, action: Stop | Freeze, settings: App) -> int | None:
        """Drain an instance, and return how many connections it still has. Those of one that is to be frozen end in
        standby: the rollout does not wait for them."""
        instance = replace(self._mirrored(action.number), generation=action.generation)
        waits = not isinstance(action, Freeze)
        return await self._notices.drain(self._router.backend, instance, settings, waits=waits)

    async def _thaw(self, action: Thaw) -> None:
        self._notices.forget(action.number)
        await self._freezer.thaw(action)
        await self._router.backend.open(action.number)

    async def _result(self, job: asyncio.Future[str], timeout: float) -> str:
        try:
            return await asyncio.wait_for(job, timeout)
        except TimeoutError:
            # systemd enforces the time-outs of the unit; this happens only if the manager lost the job.
            return "unknown"
