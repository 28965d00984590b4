"""org.deployd1 on a private bus, over apps that only note what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.apps.app_files import AppFiles
from deployd.apps.builds import Builds
from deployd.apps.comparer import PublicComparer
from deployd.apps.deploy_settings import DeploySettings
from deployd.apps.dry_run import DryRun
from deployd.apps.file_reader import FileReader
from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.history_view import HistoryView
from deployd.apps.host_draining import HostDraining
from deployd.apps.inventory import Inventory
from deployd.apps.one_off_commands import OneOffCommands
from deployd.apps.previews import Previews
from deployd.apps.registry import Registry
from deployd.apps.reloading import Reloading
from deployd.apps.removal import Removal
from deployd.apps.requests import Requests
from deployd.apps.rollback_goal import RollbackGoal
from deployd.apps.rollout_control import RolloutControl
from deployd.apps.statuses import Statuses
from deployd.apps.unit_preview import UnitPreview
from deployd.apps.weights import Weights
from deployd.bus import Bus, BusError, Credentials
from deployd.errors import NoSuchApp
from deployd.model.delivery import Delivery
from deployd.rollout.generations import Generations
from deployd.service.consent import Consent
from deployd.service.interface import Service
from deployd.service.introspection import APP, MANAGER, NAME, ROOT
from deployd.service.methods import Methods, app_readers, app_writers, manager
from deployd.service.polkit import Polkit
from deployd.service.signals import Signals
from tests.cli.fake_daemon import status

Calls = dict[tuple[str, str], list[Any]]

NOBODY = 65534
DEMO = f"{ROOT}/app/demo"
ODD = f"{ROOT}/app/_31st_2dapp"  # 1st-app
CHANGES: Calls = {
    (MANAGER, "Reload"): [],
    (MANAGER, "Repair"): [],
    (MANAGER, "Drain"): [{}],
    (MANAGER, "Undrain"): [],
    (APP, "Apply"): [{}],
    (APP, "Rollout"): [{}],
    (APP, "Rollback"): [0, {}],
    (APP, "Restart"): [{}],
    (APP, "Scale"): [3, {}],
    (APP, "Pause"): [],
    (APP, "Resume"): [],
    (APP, "Abort"): [{}],
    (APP, "SetWeight"): [2, 0.1, {}],
    (APP, "Remove"): [],
    (APP, "Drain"): [{}],
    (APP, "Undrain"): [],
    (APP, "Run"): [["true"], {}],
    (APP, "Build"): [{"release": ("s", "/srv/demo/releases/7")}],
}
READS: Calls = {
    (MANAGER, "ListApps"): [],
    (MANAGER, "Describe"): [],
    (MANAGER, "Check"): [""],
    (APP, "Describe"): [],
    (APP, "History"): [],
    (APP, "HistoryBefore"): [7],
    (APP, "Units"): [],
    (APP, "Plan"): [{}],
    (APP, "Changes"): [],
    (APP, "Releases"): [],
    (APP, "Compare"): [],
    (APP, "ConnectPreview"): [{}],
    (APP, "LogMatches"): [0],
    (APP, "LogMatchesOf"): ["web", 0],
    (APP, "GenerationsOf"): [["a" * 32]],
    (APP, "Event"): [1],
    (APP, "DeploySettings"): [],
}
SIGNATURES = {
    **dict.fromkeys(("Apply", "Rollout", "Restart", "Abort", "Plan", "Drain", "Build", "ConnectPreview"), "a{sv}"),
    "Rollback": "ta{sv}",
    "Scale": "ua{sv}",
    "SetWeight": "tda{sv}",
    "Check": "s",
    "LogMatches": "t",
    "LogMatchesOf": "st",
    "GenerationsOf": "as",
    "HistoryBefore": "t",
    "Run": "asa{sv}",
    "Event": "t",
}


class Served:
    """A service and a client of it."""

    def __init__(self, server: Bus, client: Bus) -> None:
        self.client = client
        self.uid = 0
        server.credentials = AsyncMock(side_effect=lambda _: Credentials(self.uid, frozenset()))  # type: ignore[method-assign]
        self.signals = Signals(server)
        self._make_readers()
        self._make_writers()
        self.polkit = create_autospec(Polkit, instance=True)
        files, generations = create_autospec(AppFiles, instance=True), create_autospec(Generations, instance=True)
        self.generations = generations
        files.load.return_value.release = "/srv/demo/releases/7"
        files.load.return_value.delivery = Delivery()
        generations.releases.return_value = frozenset()
        generations.choose.side_effect = lambda app, _: (app, None)
        generations.current.return_value.release = "/srv/demo/releases/7"
        self.rollback_goal = create_autospec(RollbackGoal, instance=True)
        self.rollback_goal.find.return_value.release = "/srv/demo/releases/7"
        methods = {
            MANAGER: manager(self.registry, self.statuses, self.files, self.reloading, self.recovery, self.draining),
            APP: Methods(
                app_readers(
                    self.statuses,
                    self.history,
                    self.units,
                    self.dry_run,
                    self.inventory,
                    self.comparer,
                    self.previews,
                    self.signals,
                    self.deploy_settings,
                ),
                app_writers(
                    self.requests,
                    self.control,
                    self.weights,
                    self.removal,
                    self.one_off,
                    self.builds,
                    self.draining,
                ),
            ),
        }
        consent = Consent(self.polkit, files, generations, self.rollback_goal)
        self.service = Service(server, methods, consent, self.registry, self.statuses, self.files)
        self.signals.emit("demo", "event", {"event": "hook", "journal": ["secret"]})
        self.event = self.signals._last_number

    def _make_readers(self) -> None:
        self.registry = create_autospec(Registry, instance=True)
        self.registry.listed.return_value = ["1st-app", "demo"]
        self.registry.find.side_effect = self._find
        self.registry.unknown.side_effect = lambda name: NoSuchApp(f"there is no app {name}")
        self.statuses = create_autospec(Statuses, instance=True)
        self.statuses.status.side_effect = status
        self.statuses.describe.return_value = {"answer": "describe"}
        self.files = create_autospec(FileReader, instance=True)
        self.files.check.return_value = {"answer": "check"}
        self.history = create_autospec(HistoryView, instance=True)
        self.history.page.return_value = {"answer": "history"}
        self.history.log_matches.return_value = ["--unit=demo.service"]
        self.history.generations_of.return_value = {"answer": "generations"}
        self.units = create_autospec(UnitPreview, instance=True)
        self.units.units.return_value = {"answer": "units"}
        self.dry_run = create_autospec(DryRun, instance=True)
        self.dry_run.plan.return_value = {"answer": "plan"}
        self.dry_run.changes.return_value = {"answer": "changes"}
        self.inventory = create_autospec(Inventory, instance=True)
        self.inventory.releases.return_value = {"answer": "releases"}
        self.comparer = create_autospec(PublicComparer, instance=True)
        self.comparer.compare.return_value = {"answer": "compare"}
        self.deploy_settings = create_autospec(DeploySettings, instance=True)
        self.deploy_settings.settings.return_value = {"answer": "settings"}
        self.previews = create_autospec(Previews, instance=True)
        self.previews.connect.return_value = {"answer": "connectpreview"}

    def _make_writers(self) -> None:
        self.reloading = create_autospec(Reloading, instance=True)
        self.recovery = create_autospec(HistoryRecovery, instance=True)
        self.recovery.repair.return_value = {"answer": "repair"}
        self.requests = create_autospec(Requests, instance=True)
        for name in ("apply", "rollout", "rollback", "restart", "scale"):
            getattr(self.requests, name).return_value = 8
        self.control = create_autospec(RolloutControl, instance=True)
        self.weights = create_autospec(Weights, instance=True)
        self.removal = create_autospec(Removal, instance=True)
        self.draining = create_autospec(HostDraining, instance=True)
        self.draining.drain.return_value = self.draining.undrain.return_value = None
        self.one_off = create_autospec(OneOffCommands, instance=True)
        self.one_off.run.return_value = {"answer": "run"}
        self.builds = create_autospec(Builds, instance=True)
        self.builds.build.return_value = {"answer": "build"}

    def require_unchanged(self) -> None:
        """Fail if anything was asked to change."""
        for writer in (self.reloading, self.recovery, self.requests, self.control, self.weights, self.removal):
            assert writer.mock_calls == []

    def _find(self, name: str) -> None:
        if name not in self.registry.listed.return_value:
            raise self.registry.unknown(name)

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Any:
        answer = await self.client.call(NAME, path, interface, member, signature, list(body), timeout=5)
        return answer[0] if answer else None

    async def method(self, interface: str, member: str, body: list[Any]) -> Any:
        """Call a method of the API with the signature in its description."""
        path = ROOT if interface == MANAGER else DEMO
        body = [self.event] if member == "Event" else body
        return await self.call(path, interface, member, SIGNATURES.get(member, ""), *body)

    async def refused(self, *arguments: Any) -> BusError:
        with pytest.raises(BusError) as raised:
            await self.call(*arguments)
        return raised.value


Test = Callable[[Served], Coroutine[Any, Any, None]]


Serve = Callable[[Test], None]
"""Runs a test with a service."""
