"""The methods of org.deployd1: what runs each of them, and the options that they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.apps.builds import Builds
from deployd.apps.caller import Caller
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
from deployd.apps.rollout_control import RolloutControl
from deployd.apps.statuses import Statuses
from deployd.apps.unit_preview import UnitPreview
from deployd.apps.weights import Weights
from deployd.config import one_line
from deployd.documents import Json
from deployd.errors import InvalidRequest
from deployd.model import advice
from deployd.model import fleet as fleets
from deployd.model.generation import Cause
from deployd.service.introspection import app_path
from deployd.service.signals import Signals

LARGEST_NUMBER = 2**63 - 1
"""Of a generation or an event: SQLite has no larger integers."""

Options = dict[str, Any]
Method = Callable[..., Any]
Table = Mapping[str, Method]
"""By member. Readers take the caller first, then, as writers do, the app, unless they are the manager's."""

_CANARY: dict[str, type] = {"canary": int, "canary_share": float}


@dataclass(frozen=True, slots=True)
class Methods:
    """Tables of one interface."""

    readers: Table
    writers: Table


def manager(
    registry: Registry,
    statuses: Statuses,
    files: FileReader,
    reloading: Reloading,
    recovery: HistoryRecovery,
    draining: HostDraining,
) -> Methods:
    """Return the methods of org.deployd1.Manager."""

    async def list_apps(_: object) -> list[list[str]]:
        return [[name, app_path(name)] for name in await registry.listed()]

    return Methods(
        {"ListApps": list_apps, "Describe": lambda _: statuses.describe(), "Check": files.check},
        {
            "Reload": reloading.reload,
            "Repair": recovery.repair,
            "Drain": lambda options: draining.drain(**_checked(options, reason=str)),
            "Undrain": draining.undrain,
        },
    )


def app_readers(
    statuses: Statuses,
    history: HistoryView,
    units: UnitPreview,
    dry_run: DryRun,
    inventory: Inventory,
    comparer: PublicComparer,
    previews: Previews,
    signals: Signals,
    deploy_settings: DeploySettings,
) -> Table:
    """Return the methods of org.deployd1.App that change nothing."""

    async def connect(caller: Caller, app: str, options: Options) -> Json:
        return await previews.connect(caller, app, _checked(options, ipv4=int, ipv6=int, unix=int))

    return {
        "Describe": lambda _, app: statuses.status(app),
        "History": lambda _, app: history.page(app),
        "HistoryBefore": lambda _, app, before: history.page(app, _number(app, before)),
        "Units": units.units,
        "Plan": lambda caller, app, options: dry_run.plan(
            caller, app, **_checked(options, release=str, preview=bool, **_CANARY)
        ),
        "Changes": dry_run.changes,
        "Releases": inventory.releases,
        "Compare": comparer.compare,
        "ConnectPreview": connect,
        "LogMatches": lambda _, app, generation: history.log_matches(app, _number(app, generation)),
        "LogMatchesOf": lambda _, app, process, generation: history.log_matches(app, _number(app, generation), process),
        "GenerationsOf": lambda _, app, invocations: history.generations_of(app, invocations),
        "Event": lambda _, app, number: signals.event(app, number),
        "DeploySettings": deploy_settings.settings,
    }


def app_writers(
    requests: Requests,
    control: RolloutControl,
    weights: Weights,
    removal: Removal,
    one_off: OneOffCommands,
    builds: Builds,
    draining: HostDraining,
) -> Table:
    """Return the methods of org.deployd1.App that change something."""

    async def apply(app: str, options: Options, agreed: str | None) -> int:
        known = _checked(options, start=bool, supersede=bool, **_CANARY)
        return await requests.apply(app, agreed=agreed, **known)

    async def rollout(app: str, options: Options, agreed: str | None) -> int:
        known = _checked(options, release=str, cause=str, supersede=bool, fleet=str, token=int, preview=bool, **_CANARY)
        known |= _fleet(known.pop("fleet", None), known.pop("token", None))
        cause = known.pop("cause", "rollout")
        if cause not in ("rollout", "reload"):
            raise InvalidRequest(f'cause "{one_line(cause)}": allowed are rollout and reload')
        return await requests.rollout(app, cause=Cause(cause), agreed=agreed, **known)

    async def rollback(app: str, to: int, options: Options) -> int:
        known = _checked(options, supersede=bool, past_irreversible=bool, fleet=str, token=int)
        known |= _fleet(known.pop("fleet", None), known.pop("token", None))
        return await requests.rollback(app, _number(app, to), **known)

    async def set_weight(app: str, generation: int, share: float, options: Options) -> None:
        _checked(options)
        await weights.set(app, _number(app, generation), share)

    async def run(app: str, argv: list[str], options: Options, agreed: str | None, caller: Caller) -> Json:
        known = _checked(options, release=str, process=str, stdin=int, stdout=int, stderr=int, terminal=str)
        return await one_off.run(app, argv, caller, **{**known, **({} if agreed is None else {"release": agreed})})

    async def build(app: str, options: Options, agreed: str | None, caller: Caller) -> Json:
        known = _checked(options, release=str, stdin=int, stdout=int, stderr=int)
        if "release" not in known:
            raise InvalidRequest('option "release" is missing: the directory that the release will have')
        return await builds.build(app, caller=caller, agreed=agreed, **known)

    return {
        "Apply": apply,
        "Rollout": rollout,
        "Rollback": rollback,
        "Restart": lambda app, options: requests.restart(app, **_checked(options, supersede=bool, process=str)),
        "Scale": lambda app, instances, options: requests.scale(
            app, instances, **_checked(options, supersede=bool, process=str)
        ),
        "Pause": control.pause,
        "Resume": control.resume,
        "Abort": lambda app, options: control.abort(app, **_checked(options, past_irreversible=bool, token=int)),
        "SetWeight": set_weight,
        "Remove": removal.remove,
        "Drain": lambda app, options: draining.drain(app, **_checked(options, reason=str)),
        "Undrain": draining.undrain,
        "Run": run,
        "Build": build,
    }


def _checked(options: Options, **known: type) -> Options:
    """Return the options. Raises InvalidRequest unless all are `known` and of the right type."""
    for key, value in options.items():
        if key not in known:
            raise InvalidRequest(f'unknown option "{one_line(key)}"; known are {", ".join(sorted(known))}')
        if type(value) is not known[key]:  # a bool is an int, but not a number of instances
            raise InvalidRequest(f'option "{key}" must be of type {known[key].__name__}')
    return dict(options)


def _fleet(fleet: str | None, token: int | None) -> Options:
    """Return the request of a fleet as an option, if there is one. Raises InvalidRequest."""
    if fleet is None and token is None:
        return {}
    if fleet is None or token is None:
        raise InvalidRequest('the options "fleet" and "token" must be given together')
    if problem := fleets.problem(fleet, token):
        raise InvalidRequest(problem)
    return {"fleet": fleets.FleetRequest(fleet, token)}


def _number(app: str, generation: int) -> int:
    """Return the number of a generation. Raises InvalidRequest if the history cannot be queried for it."""
    if generation > LARGEST_NUMBER:
        raise InvalidRequest(f"{app} has no generation {generation}; see {advice.deployd()} history {app}")
    return generation
