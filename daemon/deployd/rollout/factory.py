"""Makes the controllers: wires the parts of one app with the services that all apps share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from deployd.files.workers import Workers
from deployd.instances.actuator import Actuator
from deployd.instances.app_unit import AppUnit
from deployd.instances.commands import Commands
from deployd.instances.crash_loop import CrashLoop
from deployd.instances.freezer import Freezer
from deployd.instances.invocations import Invocations
from deployd.instances.observer import Observer
from deployd.instances.probes import prober
from deployd.instances.recall import Recall
from deployd.instances.resync import Resync
from deployd.instances.standby import Standby
from deployd.model.event import Emit
from deployd.plan.backoff import Patience
from deployd.rollout.analysis import Analysis, Compare
from deployd.rollout.cleanup import Cleanup
from deployd.rollout.completion import Completion
from deployd.rollout.control_loop import ControlLoop
from deployd.rollout.controller import Controller
from deployd.rollout.events import Events
from deployd.rollout.hooks import Hooks
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.preparation import Preparation
from deployd.rollout.reconciler import Reconciler
from deployd.rollout.recorder import Recorder
from deployd.routing import Router
from deployd.routing.kernel import Kernel
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.systemd.manager import Systemd
from deployd.systemd.tail import ReadLines
from deployd.systemd.transient import Transient
from deployd.units.deployment import Deployment


@dataclass(frozen=True, slots=True)
class ControllerFactory:
    """The services of the daemon. Only this class has all of them: each part of an app gets those it uses."""

    systemd: Systemd
    history: History
    pins: Pins
    deployment: Deployment
    kernel: Kernel
    tail: ReadLines
    hooks: Hooks
    transient: Transient
    commands: Commands
    workers: Workers
    generations: int
    """How many generations of each app the history keeps beyond those still needed."""
    patience: Patience

    def make(self, name: str, compare: Compare, *, emit: Emit, changed: Callable[[], None]) -> Controller:
        """Make the controller of an app. `emit` gets its events; `changed` is called when its status has changed."""
        loop = ControlLoop()
        events = Events(name, emit)
        router = Router(name, self.systemd, self.kernel, self.deployment.has_own_sockets, changed=loop.wake)
        app_unit = AppUnit(name, self.systemd, changed=loop.wake, failed=loop.fail)
        freezer = Freezer(name, self.systemd, self.pins)
        actuator = Actuator(
            name,
            self.systemd,
            self.pins,
            router,
            freezer,
            changed=loop.wake,
            stopped=events.stopped,
            failed=loop.fail,
        )
        crash_loop = CrashLoop(
            name,
            self.history,
            self.tail,
            actuator,
            self.patience,
            up=app_unit.is_up,
            wake=loop.wake,
            changed=changed,
            emit=events.emit,
        )
        observer = Observer(
            actuator,
            prober(name, self.systemd, self.transient, self.commands, actuator, changed=loop.wake),
            Invocations(name, self.history, self.tail),
            crash_loop,
            changed=changed,
        )
        resync = Resync(self.systemd, app_unit, actuator)

        def connected(numbers: Collection[int]) -> Collection[int]:
            return router.backend.connected(numbers)  # the backend may be another one each time

        standby = Standby(
            name,
            self.pins,
            freezer,
            actuator,
            up=app_unit.is_up,
            wake=loop.wake,
            connected=connected,
        )
        recall = Recall(name, self.pins, actuator, up=app_unit.is_up, wake=loop.wake)
        analysis = Analysis(name, self.transient, self.commands, self.tail, compare, wake=loop.wake, emit=events.emit)
        cleanup = Cleanup(name, self.history, self.pins, self.deployment, actuator, generations=self.generations)
        recorder = Recorder(name, self.history, events)

        def moved() -> None:
            changed()
            loop.wake()

        lifecycle = Lifecycle(recorder, observer, actuator, analysis, cleanup, moved=moved)
        completion = Completion(recorder, lifecycle, self.deployment, self.hooks, emit=events.emit, wake=loop.wake)
        reconciler = Reconciler(
            recorder,
            Preparation(name, recorder, self.deployment, self.workers),
            lifecycle,
            completion,
            analysis,
            resync=resync,
            app_unit=app_unit,
            observer=observer,
            recall=recall,
            standby=standby,
            router=router,
            wake_after=loop.wake_after,
        )
        return Controller(
            name,
            loop,
            recorder,
            lifecycle,
            reconciler,
            cleanup,
            actuator=actuator,
            app_unit=app_unit,
            crash_loop=crash_loop,
            observer=observer,
            recall=recall,
            resync=resync,
            router=router,
            standby=standby,
            changed=changed,
        )
