"""org.deployd1 on the bus: dispatch of method calls, properties and introspection, signals.

units/org.deployd1.xml is the API's source: signatures are read from it, and a method it names without an
implementation here is found when the daemon starts, not when somebody calls it.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from deployd import __version__, config
from deployd.apps.caller import Caller, machine_id
from deployd.apps.registry import Registry
from deployd.apps.requests import Requests
from deployd.apps.views import Views
from deployd.bus import Bus, BusError, MethodCall, Reply, variant
from deployd.errors import AccessDenied, DeploydError, InvalidFile, InvalidRequest, Refused
from deployd.model import unit_name
from deployd.model.generation import Cause
from deployd.service import disclosure
from deployd.service.consent import NAMES_RELEASE, Consent
from deployd.service.introspection import PROPERTIES, SIGNATURES
from deployd.service.introspection import check_signature as _check_signature
from deployd.service.introspection import node as _node
from deployd.service.introspection import unknown_method as _unknown_method
from deployd.service.polkit import Polkit

log = logging.getLogger(__name__)

NAME = "org.deployd1"
ROOT = "/org/deployd1"
APPS = f"{ROOT}/app"
MANAGER = "org.deployd1.Manager"
APP = "org.deployd1.App"

LARGEST_NUMBER = 2**63 - 1
"""Of a generation or an event: SQLite has no larger integers."""
LONGEST_LABEL = 256
"""Characters of an app's name in an object path that are looked at."""
MOST_EVENTS = 64
"""Events with journal lines that are kept for those who may read them."""

_HERE = Path(__file__).resolve()
_XML = (_HERE.parents[1] / "org.deployd1.xml", _HERE.parents[3] / "units" / "org.deployd1.xml")

Method = Callable[..., Any]

_CANARY: dict[str, type] = {"canary": int, "canary_share": float}


@dataclass(frozen=True, slots=True)
class Entry:
    """A method: what it takes and returns, what it runs, whether it changes anything.

    Readers are given the caller first, then, as writers are, the app unless they are the manager's.
    """

    takes: str
    returns: str
    run: Method
    changes: bool


class Service:
    """Serves the apps on `bus`: readers from Views, writers from Requests, the latter only with polkit's consent."""

    def __init__(self, bus: Bus, apps: Registry, polkit: Polkit) -> None:
        self._bus = bus
        self._apps = apps
        self._interfaces = {
            item.get("name", ""): item
            for item in ElementTree.fromstring(_find_xml())  # noqa: S314 - our own file
        }
        self._views, self._requests = Views(apps), Requests(apps)
        self._consent = Consent(polkit, apps, self._requests)
        self._events: deque[tuple[int, str, dict[str, Any]]] = deque(maxlen=MOST_EVENTS)
        self._last_event = time.time_ns()  # no number is given twice, by a daemon of before either
        readers, writers = self._readers(), self._writers()
        self._methods = {
            (interface, method.get("name", "")): _entry(interface, method, readers, writers)
            for interface, description in self._interfaces.items()
            for method in description.findall("method")
        }

    def _readers(self) -> dict[str, dict[str, Method]]:
        apps, views = self._apps, self._views
        return {
            MANAGER: {
                "ListApps": lambda _: self._list_apps(),
                "Describe": lambda _: views.describe(),
                "Check": views.check,
            },
            APP: {
                "Describe": lambda _, app: apps.status(app),
                "History": lambda _, app: views.history(app),
                "HistoryBefore": lambda _, app, before: views.history(app, _number(app, before)),
                "Units": views.units,
                "Plan": lambda caller, app, options: views.plan(
                    caller, app, **_options(options, release=str, **_CANARY)
                ),
                "Releases": views.releases,
                "Compare": views.compare,
                "LogMatches": lambda _, app, generation: views.log_matches(app, _number(app, generation)),
                "Event": lambda _, app, number: self._event(app, number),
            },
        }

    def _writers(self) -> dict[str, dict[str, Method]]:
        apps, requests = self._apps, self._requests
        return {
            MANAGER: {"Reload": apps.reload, "Repair": apps.repair},
            APP: {
                "Apply": lambda app, options, agreed: requests.apply(
                    app, agreed=agreed, **_options(options, start=bool, supersede=bool, **_CANARY)
                ),
                "Rollout": self._rollout,
                "Rollback": lambda app, to, options: requests.rollback(
                    app, _number(app, to), **_options(options, supersede=bool, past_irreversible=bool)
                ),
                "Restart": lambda app, options: requests.restart(app, **_options(options, supersede=bool)),
                "Scale": lambda app, instances, options: requests.scale(
                    app, instances, **_options(options, supersede=bool)
                ),
                "Pause": requests.pause,
                "Resume": requests.resume,
                "Abort": lambda app, options: requests.abort(app, **_options(options, past_irreversible=bool)),
                "SetWeight": lambda app, generation, share, options: requests.weigh(
                    app, _number(app, generation), share, **_options(options)
                ),
                "Remove": requests.remove,
            },
        }

    async def start(self) -> None:
        """Answer calls, then take the name: nobody reaches us half-made. Raises BusError."""
        self._bus.serve(self._serve)
        await self._bus.request_name(NAME)

    def emit(self, app: str, kind: str, fields: dict[str, Any]) -> None:
        """Broadcast a status (`changed`) or a line of progress (`event`): everyone hears it, so without journal lines.

        An event that lacks some has a number, by which Event() tells it to those who may read them.
        """
        path, public = f"{APPS}/{unit_name.path_encode(app)}", disclosure.disclosed(fields, reads_journal=False)
        if kind == "event":
            if disclosure.has_lines(fields):
                self._last_event += 1
                self._events.append((self._last_event, app, fields))
                public["number"] = self._last_event
            self._bus.emit(path, APP, "RolloutEvent", "s", [_json(public)])
            return
        self._bus.emit(ROOT, MANAGER, "AppChanged", "ss", [app, _json(public)])
        self._bus.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [APP, self._properties(fields), []])

    def _event(self, app: str, number: int) -> dict[str, Any]:
        for known, whose, fields in self._events:
            if (known, whose) == (number, app):
                return {**fields, "number": number}
        raise Refused(f"event {number} of {app} is not kept any more; deployd history {app} has what failed")

    async def _list_apps(self) -> list[list[str]]:
        return [[name, f"{APPS}/{unit_name.path_encode(name)}"] for name in await self._views.names()]

    async def _serve(self, call: MethodCall) -> Reply:
        try:
            return await self._dispatch(call)
        except BusError as error:
            raise BusError(error.name, config.one_line(error.message)) from None

    async def _dispatch(self, call: MethodCall) -> Reply:
        interface = call.interface or _interface_of(call)
        if (interface, call.member) in SIGNATURES:
            _check_signature(call.path, call.member, call.signature, SIGNATURES[interface, call.member])
            return await self._standard(call, interface)
        entry = self._methods.get((interface, call.member))
        if entry is None or (interface == MANAGER) != (call.path == ROOT):
            raise _unknown_method(call.path, call.interface, call.member)
        _check_signature(call.path, call.member, call.signature, entry.takes)
        caller = await self._caller(call)
        app = "" if interface == MANAGER else await self._app(call.path)
        try:
            result = await self._run(entry, caller, call.member, app, call.body)
        except DeploydError as error:
            if isinstance(error, InvalidFile) and app and not await self._views.may_read_file(caller, app):
                error = self._views.invalid(app)
            raise disclosure.error(error, caller.reads_journal()) from None
        if isinstance(result, dict):
            result = _json(disclosure.disclosed(result, caller.reads_journal()))
        return entry.returns, [] if not entry.returns else [result]

    async def _run(self, entry: Entry, caller: Caller, member: str, app: str, body: list[Any]) -> Any:
        arguments = [app, *body] if app else body
        if entry.changes:
            agreed = await self._consent.obtain(caller, member, app, body)
            result = entry.run(*arguments, *([agreed] if member in NAMES_RELEASE else []))
        else:
            result = entry.run(caller, *arguments)
        return await result if isinstance(result, Awaitable) else result

    async def _caller(self, call: MethodCall) -> Caller:
        try:
            known = await self._bus.credentials(call.sender)
        except BusError as error:
            raise AccessDenied(f"{call.member}: the caller is unknown: {config.one_line(error.message)}") from None
        return Caller(call.sender, known.uid, known.groups, call.interactive)

    async def _app(self, path: str) -> str:
        name = unit_name.path_decode(path.removeprefix(f"{APPS}/")[:LONGEST_LABEL])
        if not config.is_name(name) or path != f"{APPS}/{unit_name.path_encode(name)}":
            raise self._apps.unknown(name)
        await self._apps.find(name)
        return name

    async def _rollout(self, app: str, options: dict[str, Any], agreed: str | None) -> int:
        known = _options(options, release=str, cause=str, supersede=bool, **_CANARY)
        cause = known.pop("cause", "rollout")
        if cause not in ("rollout", "reload"):
            raise InvalidRequest(f'cause "{config.one_line(cause)}": allowed are rollout and reload')
        return await self._requests.rollout(app, cause=Cause(cause), agreed=agreed, **known)

    async def _standard(self, call: MethodCall, interface: str) -> Reply:
        match interface, call.member:
            case _, "Introspect":
                return "s", [await self._introspect(call.path)]
            case _, "Ping":
                return "", []
            case _, "GetMachineId":
                return "s", [machine_id()]
            case _, "GetAll":
                return "a{sv}", [await self._known_properties(call)]
            case _, "Get" if (found := (await self._known_properties(call)).get(call.body[1])) is not None:
                return "v", [variant(*found)]
        raise BusError(
            "org.freedesktop.DBus.Error.UnknownProperty", f"{call.path} has no such property, or it is read-only"
        )

    async def _known_properties(self, call: MethodCall) -> dict[str, tuple[str, Any]]:
        """Of the interface that is asked for, or of the object's own for ""."""
        if call.path == ROOT:
            return {"Version": ("s", __version__)} if call.body[0] in (MANAGER, "") else {}
        app = await self._app(call.path)
        return self._properties(self._apps.status(app)) if call.body[0] in (APP, "") else {}

    @staticmethod
    def _properties(status: dict[str, Any]) -> dict[str, tuple[str, Any]]:
        rollout = status["rollout"] or {}
        return {
            "Name": ("s", status["app"]),
            "Generation": ("t", status["generation"] or 0),
            "Release": ("s", status["release"] or ""),
            "Desired": ("u", status["desired"]),
            "Ready": ("u", status["ready"]),
            "Phase": ("s", rollout.get("phase", "")),
        }

    async def _introspect(self, path: str) -> str:
        if path == ROOT:
            return _node(["app"], self._interfaces[MANAGER])
        if path == APPS:
            return _node([unit_name.path_encode(name) for name in await self._views.names()])
        if path.startswith(APPS + "/"):
            await self._app(path)
            return _node([], self._interfaces[APP])
        parts = [part for part in ROOT.split("/") if part]
        given = [part for part in path.split("/") if part]
        return _node([parts[len(given)]] if given == parts[: len(given)] and len(given) < len(parts) else [])


def _interface_of(call: MethodCall) -> str:
    """A call may leave it out; then the first one that has such a method is meant."""
    standard = next((interface for interface, member in SIGNATURES if member == call.member), "")
    return standard or (MANAGER if call.path == ROOT else APP)


def _entry(
    interface: str,
    method: ElementTree.Element,
    readers: dict[str, dict[str, Method]],
    writers: dict[str, dict[str, Method]],
) -> Entry:
    name = method.get("name", "")

    def signature(direction: str) -> str:
        return "".join(arg.get("type", "") for arg in method.findall("arg") if arg.get("direction") == direction)

    changes = name in writers[interface]
    run = (writers if changes else readers)[interface][name]
    return Entry(signature("in"), signature("out"), run, changes)


def _options(options: dict[str, Any], **known: type) -> dict[str, Any]:
    for key, value in options.items():
        if key not in known:
            raise InvalidRequest(f'unknown option "{config.one_line(key)}"; known are {", ".join(sorted(known))}')
        if type(value) is not known[key]:  # a bool is an int, but no number of instances
            raise InvalidRequest(f'option "{key}" must be of type {known[key].__name__}')
    return dict(options)


def _number(app: str, generation: int) -> int:
    """A generation that history can be asked for."""
    if generation > LARGEST_NUMBER:
        raise InvalidRequest(f"{app} has no generation {generation}; see deployd history {app}")
    return generation


def _json(value: dict[str, Any]) -> str:
    """In ASCII: names of files need not be text."""
    return json.dumps(value)


def _find_xml() -> str:
    for path in _XML:
        if path.exists():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"org.deployd1.xml is in none of {', '.join(map(str, _XML))}")
