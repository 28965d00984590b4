"""The instances of one app: observes them, and carries out the planner's actions on them.

The shell under the planner: it runs the jobs and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

from deployd.instances.drain_notice import DrainNotices
from deployd.instances.freezer import Freezer
from deployd.instances.instance_mirror import InstanceMirror, Kind
from deployd.instances.occupied_units import OccupiedUnits
from deployd.instances.quiet_periods import QuietPeriods
from deployd.instances.start_problem import start_problem
from deployd.instances.stops import Stops
from deployd.model import unit_name
from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.app import App
from deployd.model.instance import Instance, State
from deployd.routing import Router
from deployd.state.pins import Pins
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UnitRefused

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until a failed action may be tried again."""

JOB_MARGIN = 30.0
"""Seconds that systemd gets to end a job, beyond the time-out of the unit."""


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
        occupied: OccupiedUnits,
        quiet: QuietPeriods,
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
        self._occupied = occupied
        self._quiet = quiet
        self._changed = changed
        self._stopped = stopped
        self._failed = failed
        self._jobs: dict[int, tuple[Kind, asyncio.Task[None]]] = {}
        self._requesting = asyncio.Semaphore(4)
        """Of many starts the first are requested before systemd has loaded the units of all."""
        self._mirror = InstanceMirror(app, systemd, pins)
        self._unseen: set[int] = set()
        """Instances whose sockets have changed since the last turn of the control loop began."""

    def unit(self, number: int) -> str:
        return unit_name.instance(self._app, number)

    async def discover(self) -> None:
        """Find the instances that have a pin or a loaded unit, and read their units. Raises SystemdError."""
        await self._mirror.discover()

    def forget(self) -> None:
        """Stop watching the units, because the app was removed."""
        self._mirror.forget()

    def owns(self, unit: str) -> bool:
        """True if `unit` belongs to an instance of the app; "" stands for all units."""
        return unit == "" or unit_name.belongs_to_instances(self._app, unit)

    def has_changed(self, unit: str) -> bool:
        """True if the plan may change because of the change of a unit that `owns` says belongs to an instance."""
        if (number := unit_name.instance_number(self._app, unit)) is not None:
            return self._mirror.has_changed(number)
        number = unit_name.instance_socket_number(self._app, unit)
        if number is None or number not in self._jobs:
            return True
        self._unseen.add(number)  # an action on the instance opens or closes its socket: its end says so
        return False

    def begin_turn(self) -> None:
        """Note that the control loop sees from now on all that has changed before."""
        self._unseen.clear()
        self._mirror.begin_turn()

    def observe(self) -> tuple[Instance, ...]:
        """Return the instances; an action that is queued counts as begun. Raises StateError.

        As long as nothing changes it is the same object, and instances that have not changed are.
        """
        self._quiet.observed(self._mirror.of)
        return self._mirror.observe({number: kind for number, (kind, _) in self._jobs.items()})

    def act(self, action: Action, settings: App) -> None:
        """Begin an action by the settings of its goal; it calls `changed` at its end. Raises StateError."""
        match action:
            case Adopt(number, generation):
                self._pins.pin(self._app, number, generation)
                self._changed()
            case Unpin(number):
                self._pins.unpin(self._app, number)
                self._changed()
            case Start():
                self.start_all((action,), settings)
            case Stop(number, generation):
                if action.drain and generation is not None:
                    self._quiet.begin(number, generation, settings.stop)
                self._begin(number, Stop, self._stop(action, settings))
            case Freeze(number):
                self._begin(number, Freeze, self._freeze(action, settings))
            case Thaw(number):
                self._begin(number, Thaw, self._thaw(action))

    def start_all(self, actions: Collection[Start], settings: App) -> None:
        """Begin starts of one generation, as `act` does. Raises StateError if a pin cannot be written; then none
        begins."""
        # Not in the tasks: a starting instance without a pin would be taken for an old one.
        for generation in {action.generation for action in actions}:
            numbers = [action.number for action in actions if action.generation == generation]
            self._pins.pin_all(self._app, numbers, generation)
        for action in actions:
            self._begin(action.number, Start, self._start(action, settings.pace.deadline))

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
        self._mirror.know({number})

    async def _guard(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        done = False
        try:
            await work
            done = True
        except Exception as error:
            self._failed(error)
            if number in self._jobs and self._jobs[number][1] is asyncio.current_task():
                self._router.backend.undrain(number)
                await asyncio.sleep(RETRY)
        finally:
            if number in self._jobs and self._jobs[number][1] is asyncio.current_task():
                del self._jobs[number]
            if not done or number in self._unseen or self._mirror.has_ended_otherwise(number):
                self._changed()

    async def _start(self, action: Start, timeout: float) -> None:
        unit = self.unit(action.number)
        self._mirror.refusals.pop(action.number, None)
        self._mirror.details.pop(action.number, None)
        try:
            if action.most is not None:
                starting = [self.unit(number) for number, (kind, _) in self._jobs.items() if kind is Start]
                await self._occupied.refuse_more(self._app, unit, starting, action.most)
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
        if self._mirror.of(action.number).state is not State.READY:
            await self._systemd.refresh(unit)
        if self._mirror.of(action.number).state is State.INACTIVE and result != "unknown":
            self._refused(action.number, await start_problem(self._systemd, unit, result))

    def _refused(self, number: int, why: str) -> None:
        """Remember why a start had no effect, unless a stop replaced it and is the reason."""
        if number in self._jobs and self._jobs[number][1] is asyncio.current_task():
            self._mirror.refusals[number] = f"was not started: {why}"

    async def _stop(self, action: Stop, settings: App) -> None:
        unit = self.unit(action.number)
        await self._freezer.wake(action.number)  # first, so that it can answer connections that wait there
        left = await self._drain(action, settings)
        await self._router.backend.pace(action.number, left or 0)
        stop = self._quiet.settings(action.generation) or settings.stop
        before = self._mirror.of(action.number)
        await self._quiet.wait(before, stop)
        if not action.drain or self._mirror.of(action.number).state is not State.INACTIVE:
            await self._result(await self._systemd.stop(unit), stop.longest + JOB_MARGIN)
        state = self._mirror.of(action.number).state
        if state not in (State.INACTIVE, State.FAILED):
            await self._systemd.refresh(unit)
            state = self._mirror.of(action.number).state
        if state not in (State.INACTIVE, State.FAILED):
            return
        problem = ""
        if before.state not in (State.FAILED, State.INACTIVE) and not action.keep:
            problem = await self._stops.problem(unit, before.invocation_id, settings.exec)
        if state is State.FAILED:
            await self._systemd.reset_failed(unit)
            await self._systemd.refresh(unit)
        self._mirror.refusals.pop(action.number, None)
        self._mirror.details.pop(action.number, None)
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
        instance = replace(self._mirror.of(action.number), generation=action.generation)
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
