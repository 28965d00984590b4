"""Makes the controllers: wires the parts of one app with the services that all apps share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from deployd.files.workers import Workers
from deployd.instances.actuator import Actuator
from deployd.instances.app_unit import AppUnit
from deployd.instances.commands import Commands
from deployd.instances.crash_loop import CrashLoop
from deployd.instances.drain_notice import DrainNotices
from deployd.instances.freezer import Freezer
from deployd.instances.health_unit import HealthUnit
from deployd.instances.invocations import Invocations
from deployd.instances.listening import ListeningInstances
from deployd.instances.observer import Observer
from deployd.instances.occupied_units import OccupiedUnits
from deployd.instances.preview_address import PreviewAddress
from deployd.instances.probes import prober
from deployd.instances.quiet_periods import QuietPeriods
from deployd.instances.recall import Recall
from deployd.instances.resources import ResourceReader
from deployd.instances.resync import Resync
from deployd.instances.standby import Standby
from deployd.instances.stops import Stops
from deployd.instances.timers import Timers
from deployd.instances.watchdog import Watchdog
from deployd.model.event import Emit
from deployd.model.scope import SYSTEM, Scope
from deployd.plan.backoff import Patience
from deployd.plan.idle_connections import Ending
from deployd.reuseport.listeners import cgroup_root
from deployd.rollout.analysis import Analysis
from deployd.rollout.analysis_command import AnalysisCommand, Compare
from deployd.rollout.cleanup import Cleanup
from deployd.rollout.completion import Completion
from deployd.rollout.control_loop import ControlLoop
from deployd.rollout.controller import Controller
from deployd.rollout.events import Events
from deployd.rollout.hook_runner import HookRunner
from deployd.rollout.hooks import Hooks
from deployd.rollout.host_drain import Drains, HostDrainer
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.members import Members
from deployd.rollout.notifications import Notifications
from deployd.rollout.preparation import Preparation
from deployd.rollout.probation import ProbationMonitor, TakeBack
from deployd.rollout.probation_analysis import ProbationAnalysis
from deployd.rollout.reconciler import Reconciler
from deployd.rollout.recorder import Recorder
from deployd.rollout.release_guard import ReleaseGuard
from deployd.rollout.smoke_tests import SmokeTests
from deployd.rollout.teardown import Teardown
from deployd.rollout.waiting import Waiting
from deployd.routing import Router
from deployd.routing.kernel import Kernel
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.state.spool import Spool
from deployd.systemd.manager import Systemd
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Transient
from deployd.units.deployment import Deployment


@dataclass(frozen=True, slots=True)
class _Instances:
    """The parts of one app that act on its processes, or on what sends clients to them."""

    router: Router
    app_unit: AppUnit
    health_unit: HealthUnit
    host_drainer: HostDrainer
    actuator: Actuator
    crash_loop: CrashLoop
    observer: Observer
    recall: Recall
    resync: Resync
    standby: Standby
    timers: Timers


@dataclass(frozen=True, slots=True)
class ControllerFactory:
    """The services of the daemon. Only this class has all of them: each part of an app gets those it uses."""

    systemd: Systemd
    history: History
    pins: Pins
    deployment: Deployment
    kernel: Kernel
    teardown: Teardown
    tail: Tail
    hooks: Hooks
    runner: HookRunner
    spool: Spool
    transient: Transient
    commands: Commands
    workers: Workers
    generations: int
    """How many generations of each app the history keeps beyond those still needed."""
    patience: Patience
    command: str
    """The path of deployd(1)."""
    scope: Scope = SYSTEM
    manager: int = 1
    """The PID of the service manager."""

    def make(
        self,
        name: str,
        members: Members,
        compare: Compare,
        take_back: TakeBack,
        drains: Drains,
        *,
        emit: Emit,
        changed: Callable[[], None],
    ) -> Controller:
        """Make the controller of an app or of a process type, which is one of `members`.

        `emit` gets its events; `changed` is called when its status has changed.
        """
        notifications = Notifications(name, self.history, self.spool, self.transient, self.runner, emit)
        loop, events = ControlLoop(), Events(name, notifications.report)
        is_app = name == members.application
        drainer = HostDrainer(name, drains, is_app=is_app, emit=events.emit, wake_after=loop.wake_after)
        parts = self._instances(name, loop, events, drainer, changed)

        def moved() -> None:
            changed()
            loop.wake()

        recorder = Recorder(name, self.history, events, members.application)
        cleanup = self._cleanup(name, parts)
        command = AnalysisCommand(name, self.transient, self.commands, self.tail.last, compare, self.scope.credentials)
        analysis = Analysis(name, command, wake=loop.wake, emit=events.emit)
        monitor = self._monitor(name, loop, events, parts, command, take_back, changed)
        lifecycle = Lifecycle(recorder, parts.observer, parts.actuator, analysis, cleanup, moved=moved)
        members.add(name, recorder, lifecycle, loop.wake)
        reconciler = self._reconciler(
            name, members, recorder, lifecycle, cleanup, analysis, monitor, parts=parts, events=events, loop=loop
        )
        return Controller(
            name,
            members,
            loop,
            recorder,
            lifecycle,
            reconciler,
            cleanup,
            actuator=parts.actuator,
            app_unit=parts.app_unit,
            health_unit=parts.health_unit,
            crash_loop=parts.crash_loop,
            notifications=notifications,
            observer=parts.observer,
            probation=monitor,
            recall=parts.recall,
            resync=parts.resync,
            router=parts.router,
            standby=parts.standby,
            timers=parts.timers,
            changed=changed,
        )

    def _reconciler(
        self,
        name: str,
        members: Members,
        recorder: Recorder,
        lifecycle: Lifecycle,
        cleanup: Cleanup,
        analysis: Analysis,
        monitor: ProbationMonitor,
        *,
        parts: _Instances,
        events: Events,
        loop: ControlLoop,
    ) -> Reconciler:
        return Reconciler(
            name,
            members,
            recorder,
            self._preparation(name, recorder),
            ReleaseGuard(name, self.workers),
            lifecycle,
            self._completion(name, members, recorder, lifecycle, cleanup, parts, events, loop),
            analysis,
            SmokeTests(name, self.transient, self.commands, self.tail, wake=loop.wake, emit=events.emit),
            monitor,
            parts.host_drainer,
            resync=parts.resync,
            app_unit=parts.app_unit,
            health_unit=parts.health_unit,
            observer=parts.observer,
            preview=PreviewAddress(name, self.systemd, self.command),
            executor=parts.actuator,
            recall=parts.recall,
            standby=parts.standby,
            timers=parts.timers,
            router=parts.router,
            waiting=Waiting(emit=events.emit, wake_after=loop.wake_after, lasted=parts.resync.invalidate),
            wake_after=loop.wake_after,
        )

    def _preparation(self, name: str, recorder: Recorder) -> Preparation:
        resources = ResourceReader(name, self.systemd, self.history)
        return Preparation(name, recorder, self.deployment, self.workers, resources)

    def _completion(
        self,
        name: str,
        members: Members,
        recorder: Recorder,
        lifecycle: Lifecycle,
        cleanup: Cleanup,
        parts: _Instances,
        events: Events,
        loop: ControlLoop,
    ) -> Completion:
        return Completion(
            name,
            members,
            recorder,
            lifecycle,
            self.deployment,
            self.hooks,
            cleanup,
            parts.timers,
            parts.host_drainer,
            emit=events.emit,
            wake=loop.wake,
        )

    def _cleanup(self, name: str, parts: _Instances) -> Cleanup:
        return Cleanup(
            name,
            self.history,
            self.pins,
            self.deployment,
            parts.actuator,
            parts.router,
            self.teardown,
            parts.timers,
            generations=self.generations,
        )

    def _monitor(
        self,
        name: str,
        loop: ControlLoop,
        events: Events,
        parts: _Instances,
        command: AnalysisCommand,
        take_back: TakeBack,
        changed: Callable[[], None],
    ) -> ProbationMonitor:
        return ProbationMonitor(
            name,
            self.history,
            parts.observer,
            ProbationAnalysis(name, command, wake=loop.wake),
            self.tail.last,
            take_back,
            up=parts.app_unit.is_up,
            wake=loop.wake,
            changed=changed,
            emit=events.emit,
        )

    def _instances(
        self, name: str, loop: ControlLoop, events: Events, host_drainer: HostDrainer, changed: Callable[[], None]
    ) -> _Instances:
        systemd, pins, deployment, wake = self.systemd, self.pins, self.deployment, loop.wake
        router = Router(name, systemd, self.kernel, deployment, emit=events.emit, changed=wake, reported=changed)
        app_unit = AppUnit(name, systemd, changed=wake, failed=loop.fail, opening=partial(deployment.is_opening, name))

        def connected(numbers: Collection[int]) -> Mapping[int, int | None]:
            return router.backend.connected(numbers)  # the backend may be another one each time

        async def close_idle(number: int) -> Ending:
            return await router.backend.close_idle(number)

        freezer = Freezer(name, systemd, pins, close_idle)
        actuator = Actuator(
            name,
            systemd,
            pins,
            router,
            freezer,
            Stops(systemd, self.tail),
            DrainNotices(name, systemd, self.history, self.transient, self.commands),
            OccupiedUnits(systemd, cgroup_root()),
            QuietPeriods(name, systemd, self.history, pins.drains),
            changed=wake,
            stopped=events.stopped,
            failed=loop.fail,
        )
        crash_loop = CrashLoop(
            name,
            self.history,
            self.tail.account,
            actuator,
            self.patience,
            up=app_unit.is_up,
            closed=router.is_closed,
            wake=wake,
            changed=changed,
            emit=events.emit,
        )
        probes = prober(name, systemd, self.transient, self.commands, actuator, router.aim, wake, self.scope.runtime)
        listening = self._listening(name, router, events, wake)
        invocations = Invocations(name, self.history, self.tail, systemd)
        watchdog = Watchdog(name, lambda: router.backend, changed=wake)
        return _Instances(
            router,
            app_unit,
            HealthUnit(name, systemd, wake=wake),
            host_drainer,
            actuator,
            crash_loop,
            Observer(actuator, probes, invocations, crash_loop, listening, watchdog, changed=changed),
            Recall(name, pins, actuator, up=app_unit.is_up, wake=wake),
            Resync(systemd, app_unit, actuator),
            Standby(name, pins, freezer, actuator, up=app_unit.is_up, wake=wake, connected=connected),
            Timers(name, systemd, deployment.timers, up=app_unit.is_up),
        )

    def _listening(self, name: str, router: Router, events: Events, wake: Callable[[], None]) -> ListeningInstances:
        return ListeningInstances(
            name,
            self.systemd,
            self.history,
            self.workers,
            cgroup_root(),
            changed=wake,
            emit=events.emit,
            also=router.recount,
            scope=self.scope,
            manager=self.manager,
        )
