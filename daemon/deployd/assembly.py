"""Connects the parts of apps and service: each gets the few that it uses."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from deployd.apps.announcer import Announcer, Emit
from deployd.apps.app_files import AppFiles
from deployd.apps.builds import Builds
from deployd.apps.caller_files import CallerFiles
from deployd.apps.comparer import Comparer, PublicComparer
from deployd.apps.deploy_settings import DeploySettings
from deployd.apps.dry_run import DryRun
from deployd.apps.file_reader import FileReader
from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.history_view import HistoryView
from deployd.apps.host_draining import HostDraining
from deployd.apps.installer import Installer
from deployd.apps.inventory import Inventory
from deployd.apps.one_off_commands import OneOffCommands
from deployd.apps.previews import Previews
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.apps.reloading import Reloading
from deployd.apps.removal import Removal
from deployd.apps.requests import Requests
from deployd.apps.rollback_goal import RollbackGoal
from deployd.apps.rollout_control import RolloutControl, UnderWay
from deployd.apps.rollout_starter import RolloutStarter
from deployd.apps.statuses import Statuses
from deployd.apps.supervisor import Supervisor
from deployd.apps.turns import Turns
from deployd.apps.unit_preview import UnitPreview
from deployd.apps.weights import Weights
from deployd.bus import Bus
from deployd.files.workers import Workers
from deployd.instances.commands import Commands
from deployd.model.app import App
from deployd.model.host_drain import RolloutDrain
from deployd.model.probation import Probation
from deployd.model.scope import Scope
from deployd.rollout.controller import Controller
from deployd.rollout.events import of_process
from deployd.rollout.factory import ControllerFactory
from deployd.rollout.generation_builder import GenerationBuilder
from deployd.rollout.generations import Generations
from deployd.rollout.hooks import Hooks
from deployd.rollout.members import Members
from deployd.rollout.release_reader import ReleaseReader
from deployd.rollout.reversibility import Reversibility
from deployd.rollout.teardown import Teardown
from deployd.service.authority import Authority
from deployd.service.consent import Consent
from deployd.service.interface import Service
from deployd.service.introspection import APP, MANAGER
from deployd.service.methods import Methods, app_readers, app_writers, manager
from deployd.service.signals import Signals
from deployd.state.history import History
from deployd.state.host_drains import HostDrains
from deployd.state.pins import Pins
from deployd.systemd.complaints import ComplaintCounter
from deployd.systemd.manager import Systemd
from deployd.systemd.mounts import Mounts
from deployd.systemd.transient import Transient
from deployd.units.deployment import Deployment

log = logging.getLogger(__name__)


class Assembly:
    """The apps of a scope. `emit` gets what is broadcast about them."""

    def __init__(
        self,
        scope: Scope,
        controllers: ControllerFactory,
        teardown: Teardown,
        emit: Emit,
        *,
        systemd: Systemd,
        history: History,
        pins: Pins,
        drains: HostDrains,
        rollout_drain: RolloutDrain,
        deployment: Deployment,
        hooks: Hooks,
        transient: Transient,
        commands: Commands,
        workers: Workers,
    ) -> None:
        self._scope = scope
        self._controllers = controllers
        self._systemd = systemd
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._hooks = hooks
        self._transient = transient
        self._commands = commands
        self._teardown = teardown
        self.pool = ReaderPool()
        self.files = AppFiles(scope.apps, self.pool.root)
        self.registry = Registry(self.files)
        self.statuses = Statuses(self.registry, history, drains)
        self.announcer = Announcer(emit, self.statuses.status, self.registry.phase)
        self.draining = HostDraining(drains, rollout_drain, self.registry, self.announcer)
        self._members: dict[str, Members] = {}
        self.supervisor = Supervisor(self.registry, self.announcer, self._controller)
        self._mounts = Mounts(self.supervisor.on_mount)
        self.recovery = HistoryRecovery(history, self.supervisor.take_up)
        self.reloading = Reloading(self.files, self.recovery)
        self.generations = Generations(history)
        self.rollback_goal = RollbackGoal(self.registry, history, self.generations)
        self._comparer, self._public_comparer = self._new_comparer(), self._new_comparer()
        turns = Turns(hooks, self.recovery)
        self._removal = Removal(self.registry, self.supervisor, turns, teardown, history, pins, self.draining)
        self._workers = workers
        self._releases = ReleaseReader(workers, pins.credentials)
        self._requests = self._new_requests(turns)

    async def start(self) -> None:
        """Start the controller of every app that has a history or units: one with units may be running although all of
        its state is lost."""
        self._systemd.on_change(self.supervisor.on_unit_change)
        try:
            self._mounts.open()
        except OSError as error:
            log.warning("changes of mounts cannot be noticed: %s", error)
        self.recovery.start()
        await self.supervisor.start(sorted({*self._history.apps(), *self._deployment.apps()}))
        await self.files.refresh()
        self.draining.refresh()

    async def stop(self) -> None:
        """Stop all controllers. Instances keep running."""
        self._mounts.close()
        self.recovery.stop()
        await self.supervisor.stop()

    async def _load(self, name: str) -> App:
        """Return what the app file says now, read by the workers of requests."""
        return await self.files.load(name, self._workers)

    async def _take_back(self, application: str, probation: Probation, reason: str) -> None:
        """Roll back a generation that has failed its probation, or a process type of which has."""
        process = probation.app.removeprefix(f"{application}.")
        why = reason if process == application else f"{process}: {reason}"
        await self._requests.take_back(replace(probation, app=application), why)

    def _controller(self, name: str, application: str) -> Controller:
        application = application or self.generations.application(name)
        if name == application:
            self.draining.begin(name)
        emit = partial(self.announcer.event, application)
        return self._controllers.make(
            name,
            self._members.setdefault(application, Members(application, self._history)),
            self._comparer.compare,
            partial(self._take_back, application),
            self.draining,
            emit=emit if name == application else of_process(name.removeprefix(f"{application}."), emit),
            changed=partial(self.announcer.changed, application),
        )

    def _new_comparer(self) -> Comparer:
        complaining = ComplaintCounter(run=Workers(places=1).run, names=self._scope.journal)
        return Comparer(self._systemd, self._history, self.statuses.status, complaining)

    def _new_requests(self, turns: Turns) -> Requests:
        supervisor, generations, releases = self.supervisor, self.generations, self._releases
        history, deployment = self._history, self._deployment
        builder = GenerationBuilder(
            releases, generations, history, self._pins, deployment, self._hooks, self.announcer.event
        )
        starter = RolloutStarter(
            supervisor,
            builder,
            Reversibility(releases, generations),
            history,
            deployment,
            self.announcer,
        )
        installer = Installer(
            supervisor, builder, generations, history, self._pins, deployment, self._teardown, self.announcer
        )
        return Requests(self.registry, turns, self._load, releases, generations, starter, installer, self.rollback_goal)

    def service(self, bus: Bus, authority: Authority, signals: Signals) -> Service:
        """Return the D-Bus service of the apps."""
        pool, registry, statuses = self.pool, self.registry, self.statuses
        history, deployment = self._history, self._deployment
        reader = FileReader(self.files, pool, self._deployment)
        under_way = UnderWay(registry, self._hooks, self.recovery)
        digest = self._pins.credentials.digest
        readers = app_readers(
            statuses,
            HistoryView(registry, history, deployment, self._scope.journal),
            UnitPreview(registry, reader, pool, self.generations, history, self._pins, deployment),
            DryRun(registry, reader, pool, self.generations, history, deployment, digest),
            Inventory(registry, self.files, pool, history, self._pins),
            PublicComparer(pool, self._comparer, self._public_comparer),
            Previews(CallerFiles(bus), registry),
            signals,
            DeploySettings(reader, pool),
        )
        writers = app_writers(
            self._requests,
            RolloutControl(under_way, self._releases, self.rollback_goal),
            Weights(registry, under_way, self._load, self.generations, deployment),
            self._removal,
            OneOffCommands(bus, self.generations, self._transient, self._commands),
            Builds(bus, self._load, self._workers, self._transient, self._commands, self._scope),
            self.draining,
        )
        methods = {
            MANAGER: manager(registry, statuses, reader, self.reloading, self.recovery, self.draining),
            APP: Methods(readers, writers),
        }
        consent = Consent(authority, self.files, self.generations, self.rollback_goal)
        return Service(bus, methods, consent, registry, statuses, reader)
