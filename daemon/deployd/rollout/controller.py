"""One app's controller: its control loop, and the requests that change the app's rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deployd.errors import DeploydError, SystemdError
from deployd.instances.actuator import Actuator
from deployd.instances.app_unit import AppUnit
from deployd.instances.crash_loop import CrashLoop
from deployd.instances.health_unit import HealthUnit
from deployd.instances.observer import Observer
from deployd.instances.recall import Recall
from deployd.instances.resync import Resync
from deployd.instances.standby import Standby
from deployd.instances.timers import Timers
from deployd.model.generation import Generation, Result
from deployd.model.instance import Instance, State
from deployd.model.probation import Probation
from deployd.model.rollout import Hold, Phase, Rollout
from deployd.plan.transitions import Event
from deployd.rollout.cleanup import Cleanup
from deployd.rollout.control_loop import ControlLoop
from deployd.rollout.faults import Faults
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.members import Members
from deployd.rollout.notifications import Notifications
from deployd.rollout.probation import ProbationMonitor
from deployd.rollout.reconciler import Reconciler
from deployd.rollout.recorder import Begin, Recorder
from deployd.routing import Router


class Controller:
    """The app `name`, or the process type of that name.

    Made by :class:`ControllerFactory`; requests come through :meth:`begin` and :meth:`send`.
    """

    def __init__(
        self,
        name: str,
        members: Members,
        loop: ControlLoop,
        recorder: Recorder,
        lifecycle: Lifecycle,
        reconciler: Reconciler,
        cleanup: Cleanup,
        *,
        actuator: Actuator,
        app_unit: AppUnit,
        health_unit: HealthUnit,
        crash_loop: CrashLoop,
        notifications: Notifications,
        observer: Observer,
        probation: ProbationMonitor,
        recall: Recall,
        resync: Resync,
        router: Router,
        standby: Standby,
        timers: Timers,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.application = members.application
        self._members = members
        self.actuator = actuator
        self.crash_loop = crash_loop
        self.recall = recall
        self.router = router
        self.standby = standby
        self.timers = timers
        self._loop = loop
        self._recorder = recorder
        self._lifecycle = lifecycle
        self._reconciler = reconciler
        self._cleanup = cleanup
        self._app_unit = app_unit
        self._health_unit = health_unit
        self._notifications = notifications
        self._probation = probation
        self._observer = observer
        self._resync = resync
        self._changed = changed
        self._faults = Faults(name)

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way."""
        return self._recorder.rollout

    @property
    def target(self) -> Generation | None:
        """The generation that the rollout under way made, with the failure found so far."""
        return self._recorder.target

    def start(self) -> None:
        """Continue the rollout that the history has, if any, and start the control loop."""
        self.take_up()
        self._loop.start(self._turn, self._failed)
        self._notifications.start()

    def take_up(self) -> None:
        """Continue the rollout that the history has: at the start, and after the history was replaced."""
        self._recorder.take_up()
        self._observer.forget_recorded()
        self._changed()
        self.wake()

    async def stop(self) -> None:
        """Stop the control loop; instances, and jobs that systemd has accepted, continue."""
        self.crash_loop.stop()
        self._probation.stop()
        self.recall.stop()
        self._health_unit.stop()
        await self._loop.stop()
        await self._notifications.stop()
        await self.standby.stop()
        await self._observer.stop()
        self.router.stop()

    async def end(self, reason: str) -> None:
        """Abort the active rollout and stop, because the app is about to be removed. Raises StateError."""
        if self._recorder.active is not None:
            self._lifecycle.finish(self._recorder.active, Result.ABORTED, reason)
        await self.stop()
        self._members.drop(self.name)
        await self._notifications.end()
        self._app_unit.stop()
        await self.actuator.stop()

    def wake(self) -> None:
        self._loop.wake()

    def on_unit_change(self, unit: str) -> None:
        """Wake the loop if `unit` is one of the app; "" if any unit may have changed."""
        if unit == "":
            self._resync.invalidate()
            self.wake()
        elif self.actuator.owns(unit):
            if self.actuator.has_changed(unit):
                self.wake()
        elif self.router.owns(unit) or unit == self._app_unit.unit:
            self.wake()
        elif self.timers.owns(unit):
            self._changed()
            self.wake()

    def on_mount(self) -> None:
        """Start instances that wait for their release: a file system was mounted."""
        if self._observer.retry_crashed(absent=True):
            self.wake()

    async def ready(self) -> None:
        """Wait until the units of the app have been read once. Raises SystemdError."""
        await self._resync.refresh()

    async def observed(self) -> None:
        """Wait until everything that status shows was looked at once, or that failed. Raises SystemdError."""
        await self.ready()
        await self._reconciler.observed.wait()

    def begin(self, generation: Generation, holds: tuple[Hold, ...] = ()) -> None:
        """Start the rollout of a new generation, whose files are written, from whatever runs now. Raises StateError.

        It supersedes the active rollout, if there is one.
        """
        self.begin_together([(self, generation, holds)])

    def begin_together(self, begins: Sequence[tuple[Controller, Generation, tuple[Hold, ...]]]) -> None:
        """Start the rollouts of an app and of its process types as :meth:`begin` does: all of them, or none."""
        self._recorder.begin_all([Begin(item._recorder, generation, holds) for item, generation, holds in begins])
        for item, _, _ in begins:
            if not item._app_unit.is_up():
                item._cleanup.unpin_inactive()
            item.wake()

    def send(self, event: Event, reason: str = "") -> bool:
        """Pause, resume or abort the active rollout; False if that makes no sense now. Raises StateError."""
        active = self._recorder.active
        return active is not None and self._lifecycle.advance(active, event, reason)

    def watched(self) -> Probation | None:
        """Return the probation of the current generation while it lasts. Raises StateError."""
        return self._probation.known()

    def accept(self) -> bool:
        """End the probation of the current generation; False if it has none, or a rollout is under way.

        Raises StateError.
        """
        return self._recorder.active is None and self._probation.accept()

    def weigh(self, weight: tuple[int, float]) -> bool:
        """Set the weight of a generation; False if that makes no sense now. Raises StateError."""
        rollout = self._recorder.weigh(weight)
        if rollout is None:
            return False
        self.router.backend.follow(rollout)  # the weight is in force when the call returns
        self._changed()
        self.wake()
        return True

    def is_gone(self) -> bool:
        """True if this is a process type that the app has no longer, and nothing of it is left but its history."""
        if self.rollout is not None or self._recorder.settings() is not None:
            return False
        return all(item.generation is None and item.state is State.INACTIVE for item in self.observe())

    def is_up(self) -> bool:
        """True while the app unit is up."""
        return self._app_unit.is_up()

    def observe(self) -> tuple[Instance, ...]:
        """Return the instances, with the results of their probes."""
        return self._observer.observe()

    async def _turn(self) -> None:
        try:
            self.actuator.begin_turn()
            await self._reconciler.reconcile()
            if self._members.has_left(self.name):
                self._recorder.retire()
                await self._cleanup.retire()
        except Exception as error:
            if not isinstance(error, DeploydError):
                self._resync.invalidate()
            raise

    def _failed(self, error: Exception) -> None:
        """Log an error of a turn or of a job, and pause or fail the rollout if a retry cannot help.

        A rollback never pauses for an error: it is retried until it succeeds.
        """
        self._reconciler.observed.set()  # others do not wait for the trouble of this app
        active = self._recorder.active
        rolling = active is not None and active.rollout.phase is not Phase.PAUSED
        lasting = self._faults.note(error, rolling=rolling)
        try:
            if active is None:
                return
            if lasting is not None:
                self._lifecycle.advance(active, Event.BLOCKED, str(lasting))
            elif isinstance(error, SystemdError) and self._recorder.is_overdue(active):
                self._lifecycle.advance(active, Event.FAILED, f"the rollout's deadline passed: {error}")
        except Exception as another:
            self._faults.note(another, rolling=False)
