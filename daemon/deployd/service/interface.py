"""org.deployd1 on the bus: dispatch of method calls, properties and introspection.

units/org.deployd1.xml is the API's source: signatures are read from it, and a method in it without an implementation
stops the daemon from starting.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from deployd import __version__, config
from deployd.apps.caller import Caller, machine_id
from deployd.apps.file_reader import FileReader
from deployd.apps.registry import Registry
from deployd.apps.statuses import Statuses
from deployd.bus import Bus, BusError, MethodCall, Reply, variant
from deployd.errors import AccessDenied, DeploydError, InvalidFile
from deployd.model import unit_name
from deployd.service import disclosure
from deployd.service.actions import NEEDED, NEEDS_CALLER, Action
from deployd.service.consent import KEEPS_RELEASE, Consent
from deployd.service.introspection import (
    APP,
    APPS,
    MANAGER,
    NAME,
    ROOT,
    SIGNATURES,
    app_path,
    check_signature,
    description,
    node,
    unknown_method,
)
from deployd.service.methods import Method, Methods
from deployd.service.signals import properties

LONGEST_LABEL = 256
"""Characters of an app's name in an object path; longer ones are cut off."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A method: its signatures, what it runs, and the action that it needs, None if it changes nothing."""

    takes: str
    returns: str
    run: Method
    action: Action | None


class Service:
    """Serves `methods`, by interface, on `bus`. Methods that change something need `consent`."""

    def __init__(
        self,
        bus: Bus,
        methods: Mapping[str, Methods],
        consent: Consent,
        registry: Registry,
        statuses: Statuses,
        files: FileReader,
    ) -> None:
        self._bus = bus
        self._consent = consent
        self._registry = registry
        self._statuses = statuses
        self._files = files
        root = ElementTree.fromstring(description())  # noqa: S314 - our own file
        self._interfaces = {item.get("name", ""): item for item in root}
        self._methods = {
            (name, method.get("name", "")): _entry(method, methods[name])
            for name, interface in self._interfaces.items()
            for method in interface.findall("method")
        }

    async def start(self) -> None:
        """Answer calls, then take the name, so that clients never find half a service. Raises BusError."""
        self._bus.serve(self._serve)
        await self._bus.request_name(NAME)

    async def _serve(self, call: MethodCall) -> Reply:
        try:
            return await self._dispatch(call)
        except BusError as error:
            raise BusError(error.name, config.one_line(error.message)) from None

    async def _dispatch(self, call: MethodCall) -> Reply:
        interface = call.interface or _interface_of(call)
        if (interface, call.member) in SIGNATURES:
            check_signature(call.path, call.member, call.signature, SIGNATURES[interface, call.member])
            return await self._standard(call)
        entry = self._methods.get((interface, call.member))
        if entry is None or (interface == MANAGER) != (call.path == ROOT):
            raise unknown_method(call.path, call.interface, call.member)
        check_signature(call.path, call.member, call.signature, entry.takes)
        caller = await self._caller(call)
        app = "" if interface == MANAGER else await self._app(call.path)
        try:
            result = await self._run(entry, caller, call.member, app, call.body)
        except DeploydError as error:
            if isinstance(error, InvalidFile) and app and not await self._files.may_read(caller, app):
                error = self._files.invalid(app)
            raise disclosure.error(error, bool(error.lines) and await self._consent.reads_logs(caller, app)) from None
        if isinstance(result, dict):
            reads_logs = disclosure.has_lines(result) and await self._consent.reads_logs(caller, app)
            result = json.dumps(disclosure.disclosed(result, reads_logs))
        return entry.returns, [] if not entry.returns else [result]

    async def _run(self, entry: Entry, caller: Caller, member: str, app: str, body: list[Any]) -> Any:
        arguments = [app, *body] if app else body
        if entry.action is not None:
            agreed = await self._consent.obtain(caller, entry.action, member, app, body)
            more = [*([agreed] if member in KEEPS_RELEASE else []), *([caller] if member in NEEDS_CALLER else [])]
            result = entry.run(*arguments, *more)
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
        """Return the name of the app that an object stands for. Raises NoSuchApp."""
        name = unit_name.path_decode(path.removeprefix(f"{APPS}/")[:LONGEST_LABEL])
        if not config.is_name(name) or path != app_path(name):
            raise self._registry.unknown(name)
        await self._registry.find(name)
        return name

    async def _standard(self, call: MethodCall) -> Reply:
        match call.member:
            case "Introspect":
                return "s", [await self._introspect(call.path)]
            case "Ping":
                return "", []
            case "GetMachineId":
                return "s", [machine_id()]
            case "GetAll":
                return "a{sv}", [await self._properties(call)]
            case "Get" if (found := (await self._properties(call)).get(call.body[1])) is not None:
                return "v", [variant(*found)]
        raise BusError(
            "org.freedesktop.DBus.Error.UnknownProperty", f"{call.path} has no such property, or it is read-only"
        )

    async def _properties(self, call: MethodCall) -> dict[str, tuple[str, Any]]:
        """Return the properties of the interface in a call, or of the object's own interface for ""."""
        if call.path == ROOT:
            return {"Version": ("s", __version__)} if call.body[0] in (MANAGER, "") else {}
        app = await self._app(call.path)
        return properties(self._statuses.status(app)) if call.body[0] in (APP, "") else {}

    async def _introspect(self, path: str) -> str:
        if path == ROOT:
            return node(["app"], self._interfaces[MANAGER])
        if path == APPS:
            return node([unit_name.path_encode(name) for name in await self._registry.listed()])
        if path.startswith(APPS + "/"):
            await self._app(path)
            return node([], self._interfaces[APP])
        parts = [part for part in ROOT.split("/") if part]
        given = [part for part in path.split("/") if part]
        return node([parts[len(given)]] if given == parts[: len(given)] and len(given) < len(parts) else [])


def _interface_of(call: MethodCall) -> str:
    """Return the interface of a call that leaves it out: the first one that has such a method."""
    standard = next((interface for interface, member in SIGNATURES if member == call.member), "")
    return standard or (MANAGER if call.path == ROOT else APP)


def _entry(method: ElementTree.Element, methods: Methods) -> Entry:
    name = method.get("name", "")

    def signature(direction: str) -> str:
        return "".join(arg.get("type", "") for arg in method.findall("arg") if arg.get("direction") == direction)

    changes = name in methods.writers
    run, action = (methods.writers[name], NEEDED[name]) if changes else (methods.readers[name], None)
    return Entry(signature("in"), signature("out"), run, action)
