"""org.deployd1 on the bus: dispatch of method calls, properties and introspection, signals.

units/org.deployd1.xml is the API's source: signatures are read from it, and a method it names without an
implementation here is found when the daemon starts, not when somebody calls it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from deployd import __version__
from deployd.bus import Bus, BusError, MethodCall, Reply, variant
from deployd.control.registry import Registry
from deployd.errors import InvalidRequest
from deployd.model.generation import Cause
from deployd.service.polkit import Polkit
from deployd.service.requests import Requests
from deployd.service.views import Views
from deployd.systemd.manager import decode, encode

log = logging.getLogger(__name__)

NAME = "org.deployd1"
ROOT = "/org/deployd1"
APPS = f"{ROOT}/app"
MANAGER = "org.deployd1.Manager"
APP = "org.deployd1.App"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PROPERTIES = "org.freedesktop.DBus.Properties"
PEER = "org.freedesktop.DBus.Peer"

_HERE = Path(__file__).resolve()
_XML = (_HERE.parents[1] / "org.deployd1.xml", _HERE.parents[3] / "units" / "org.deployd1.xml")

Method = Callable[..., Any]

_CANARY: dict[str, type] = {"canary": int, "canary_share": float}


@dataclass(frozen=True, slots=True)
class Entry:
    """A method: what it takes and returns, what it runs, whether it changes anything."""

    takes: str
    returns: str
    run: Method
    changes: bool


class Service:
    """Serves the apps on `bus`: readers from Views, writers from Requests, the latter only with polkit's consent."""

    def __init__(self, bus: Bus, apps: Registry, polkit: Polkit) -> None:
        self._bus = bus
        self._apps = apps
        self._polkit = polkit
        self._interfaces = {
            item.get("name", ""): item
            for item in ElementTree.fromstring(_find_xml())  # noqa: S314 - our own file
        }
        views, requests = Views(apps), Requests(apps)
        self._views = views
        self._requests = requests
        readers: dict[str, dict[str, Method]] = {
            MANAGER: {
                "ListApps": self._list_apps,
                "Describe": lambda: _told(views.describe()),
                "Check": lambda app: _told(views.check(app)),
            },
            APP: {
                "Describe": lambda app: _json(apps.status(app)),
                "History": lambda app: _json(views.history(app)),
                "HistoryBefore": lambda app, before: _json(views.history(app, before)),
                "Units": lambda app: _told(views.units(app)),
                "Plan": lambda app, options: _told(views.plan(app, **_options(options, release=str, **_CANARY))),
                "Releases": lambda app: _told(views.releases(app)),
                "Compare": lambda app: _told(views.compare(app)),
                "LogMatches": views.log_matches,
            },
        }
        writers: dict[str, dict[str, Method]] = {
            MANAGER: {"Reload": apps.reload, "Repair": lambda: _json(apps.repair())},
            APP: {
                "Apply": lambda app, options: requests.apply(
                    app, **_options(options, start=bool, supersede=bool, **_CANARY)
                ),
                "Rollout": self._rollout,
                "Rollback": lambda app, to, options: requests.rollback(
                    app, to, **_options(options, supersede=bool, past_irreversible=bool)
                ),
                "Recall": requests.recall,
                "Restart": lambda app, options: requests.restart(app, **_options(options, supersede=bool)),
                "Scale": lambda app, instances, options: requests.scale(
                    app, instances, **_options(options, supersede=bool)
                ),
                "Pause": requests.pause,
                "Resume": requests.resume,
                "Abort": lambda app, options: requests.abort(app, **_options(options, past_irreversible=bool)),
                "SetWeight": lambda app, generation, share, options: requests.weigh(
                    app, generation, share, **_options(options)
                ),
                "Remove": requests.remove,
            },
        }
        self._methods = {
            (interface, method.get("name", "")): _entry(interface, method, readers, writers)
            for interface, description in self._interfaces.items()
            for method in description.findall("method")
        }

    async def start(self) -> None:
        """Answer calls, then take the name: nobody reaches us half-made. Raises BusError."""
        self._bus.serve(self._serve)
        await self._bus.request_name(NAME)

    def emit(self, app: str, kind: str, fields: dict[str, Any]) -> None:
        """Broadcast a status (`changed`) or a line of progress (`event`)."""
        path = f"{APPS}/{encode(app)}"
        if kind == "event":
            self._bus.emit(path, APP, "RolloutEvent", "s", [_json(fields)])
            return
        self._bus.emit(ROOT, MANAGER, "AppChanged", "ss", [app, _json(fields)])
        self._bus.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [APP, self._properties(fields), []])

    async def _serve(self, call: MethodCall) -> Reply:
        if call.interface == PEER:
            return self._peer(call)
        if call.member == "Introspect" and call.interface in ("", INTROSPECTABLE):
            return "s", [await self._introspect(call.path)]
        if call.interface == PROPERTIES:
            return await self._get(call)
        interface = call.interface or (MANAGER if call.path == ROOT else APP)
        entry = self._methods.get((interface, call.member))
        if entry is None or (interface == MANAGER) != (call.path == ROOT):
            raise BusError(
                "org.freedesktop.DBus.Error.UnknownMethod", f"{call.path} has no {call.interface}.{call.member}"
            )
        if call.signature != entry.takes:
            raise BusError(
                "org.freedesktop.DBus.Error.InvalidArgs",
                f'{call.member} takes "{entry.takes}", not "{call.signature}" (busctl introspect {NAME} {call.path})',
            )
        arguments = call.body if interface == MANAGER else [await self._app(call.path), *call.body]
        if entry.changes:
            await self._polkit.authorise(call.sender, f"{call.member} of {' '.join(map(str, arguments[:1])) or NAME}")
        result = entry.run(*arguments)
        if isinstance(result, Awaitable):
            result = await result
        return entry.returns, [] if not entry.returns else [result]

    async def _app(self, path: str) -> str:
        name = decode(path.removeprefix(f"{APPS}/"))
        if path != f"{APPS}/{encode(name)}":
            raise self._apps.unknown(name)
        await self._apps.find(name)
        return name

    async def _list_apps(self) -> list[list[str]]:
        return [[name, f"{APPS}/{encode(name)}"] for name in await self._views.names()]

    async def _rollout(self, app: str, options: dict[str, Any]) -> int:
        known = _options(options, release=str, cause=str, supersede=bool, **_CANARY)
        cause = known.pop("cause", "rollout")
        if cause not in ("rollout", "reload"):
            raise InvalidRequest(f'cause "{cause}": allowed are rollout and reload')
        return await self._requests.rollout(app, cause=Cause(cause), **known)

    async def _get(self, call: MethodCall) -> Reply:
        if call.path == ROOT:
            properties = {"Version": ("s", __version__)} if call.body[:1] in ([MANAGER], [""]) else {}
        else:
            properties = self._properties(self._apps.status(await self._app(call.path)))
        if call.member == "GetAll":
            return "a{sv}", [properties]
        if call.member == "Get" and len(call.body) == 2 and call.body[1] in properties:
            return "v", [variant(*properties[call.body[1]])]
        raise BusError(
            "org.freedesktop.DBus.Error.UnknownProperty", f"{call.path} has no such property, or it is read-only"
        )

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

    def _peer(self, call: MethodCall) -> Reply:
        if call.member == "Ping":
            return "", []
        if call.member == "GetMachineId":
            return "s", [Path("/etc/machine-id").read_text(encoding="ascii").strip()]
        raise BusError("org.freedesktop.DBus.Error.UnknownMethod", f"{PEER} has no {call.member}")

    async def _introspect(self, path: str) -> str:
        def node(children: list[str], interface: str = "") -> str:
            body = ""
            if interface:
                body = ElementTree.tostring(self._interfaces[interface], encoding="unicode") + _STANDARD
            return "<node>" + body + "".join(f'<node name="{child}"/>' for child in children) + "</node>"

        if path == ROOT:
            return node(["app"], MANAGER)
        if path == APPS:
            return node([encode(name) for name in await self._views.names()])
        if path.startswith(APPS + "/"):
            await self._app(path)
            return node([], APP)
        parts = [part for part in ROOT.split("/") if part]
        given = [part for part in path.split("/") if part]
        return node([parts[len(given)]] if given == parts[: len(given)] and len(given) < len(parts) else [])


_STANDARD = f"""
<interface name="{INTROSPECTABLE}"><method name="Introspect"><arg name="xml" type="s" direction="out"/></method>
</interface><interface name="{PROPERTIES}">
<method name="Get"><arg name="interface" type="s" direction="in"/><arg name="property" type="s" direction="in"/>
<arg name="value" type="v" direction="out"/></method>
<method name="GetAll"><arg name="interface" type="s" direction="in"/>
<arg name="properties" type="a{{sv}}" direction="out"/></method>
<signal name="PropertiesChanged"><arg name="interface" type="s"/><arg name="changed" type="a{{sv}}"/>
<arg name="invalidated" type="as"/></signal></interface>"""


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
            raise InvalidRequest(f'unknown option "{key}"; known are {", ".join(sorted(known))}')
        if type(value) is not known[key]:  # a bool is an int, but no number of instances
            raise InvalidRequest(f'option "{key}" must be of type {known[key].__name__}')
    return options


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


async def _told(answer: Awaitable[dict[str, Any]]) -> str:
    return _json(await answer)


def _find_xml() -> str:
    for path in _XML:
        if path.exists():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"org.deployd1.xml is in none of {', '.join(map(str, _XML))}")
