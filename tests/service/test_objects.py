"""Properties, introspection and signals of the objects of org.deployd1."""

from __future__ import annotations

import asyncio
import json

from dbus_next import introspection

from deployd.bus import Signal, variant
from deployd.service.introspection import APP, INTROSPECTABLE, MANAGER, NAME, PEER, PROPERTIES, ROOT
from tests.cli.fake_daemon import status
from tests.service.served import DEMO, ODD, Serve, Served


def test_properties_have_the_values_of_the_status(serve: Serve) -> None:
    async def test(served: Served) -> None:
        everything = await served.call(DEMO, PROPERTIES, "GetAll", "s", APP)
        assert everything == {
            "Name": "demo",
            "Generation": 7,
            "Release": "/srv/demo/releases/7",
            "Desired": 4,
            "Ready": 4,
            "Phase": "",
        }
        for name, value in everything.items():
            assert await served.call(DEMO, PROPERTIES, "Get", "ss", APP, name) == value
        assert set(await served.call(ROOT, PROPERTIES, "GetAll", "s", MANAGER)) == {"Version"}
        for path in (ROOT, DEMO):
            assert await served.call(path, PROPERTIES, "GetAll", "s", "org.example") == {}
        first_deploy = status("demo", rollout={"phase": "rolling"}) | {"generation": None, "release": None}
        served.statuses.status.side_effect = lambda _: first_deploy
        everything = await served.call(DEMO, PROPERTIES, "GetAll", "s", APP)
        assert (everything["Generation"], everything["Release"], everything["Phase"]) == (0, "", "rolling")
        error = await served.refused(DEMO, PROPERTIES, "Get", "ss", APP, "Colour")
        assert error.name == "org.freedesktop.DBus.Error.UnknownProperty"
        for arguments in (("Set", "ssv", APP, "Desired", variant("u", 9)), ("Get", "s", APP)):
            await served.refused(DEMO, PROPERTIES, *arguments)

    serve(test)


def test_introspection_leads_from_the_root_to_all_objects(serve: Serve) -> None:
    async def test(served: Served) -> None:
        seen: dict[str, introspection.Node] = {}
        paths = ["/"]
        while paths:
            path = paths.pop()
            seen[path] = introspection.Node.parse(await served.call(path, INTROSPECTABLE, "Introspect"))
            paths += [f"{path.rstrip('/')}/{child.name}" for child in seen[path].nodes]
        assert set(seen) == {"/", "/org", "/org/deployd1", "/org/deployd1/app", DEMO, ODD}
        interfaces = {path: {interface.name for interface in node.interfaces} for path, node in seen.items()}
        assert interfaces[ROOT] == {MANAGER, INTROSPECTABLE, PROPERTIES}
        assert interfaces[DEMO] == interfaces[ODD] == {APP, INTROSPECTABLE, PROPERTIES}
        [described] = [interface for interface in seen[DEMO].interfaces if interface.name == APP]
        values = await served.call(DEMO, PROPERTIES, "GetAll", "s", APP)
        assert {prop.name for prop in described.properties} == set(values)
        assert introspection.Node.parse(await served.call("/elsewhere", INTROSPECTABLE, "Introspect")).nodes == []
        await served.call(ROOT, PEER, "Ping")

    serve(test)


def test_signals_are_as_described(serve: Serve) -> None:
    async def test(served: Served) -> None:
        got: asyncio.Queue[Signal] = asyncio.Queue()
        for interface, member, signature in (
            (APP, "RolloutEvent", "s"),
            (MANAGER, "AppChanged", "ss"),
            (PROPERTIES, "PropertiesChanged", "sa{sv}as"),
        ):
            await served.client.subscribe(
                NAME, got.put_nowait, interface=interface, member=member, signature=signature, path_namespace=ROOT
            )
        served.signals.emit("1st-app", "event", {"event": "started", "app": "1st-app"})
        served.signals.emit("demo", "changed", status("demo"))
        event, changed, properties = [await got.get() for _ in range(3)]
        assert (event.path, event.interface, event.member) == (ODD, APP, "RolloutEvent")
        assert json.loads(event.body[0]) == {"event": "started", "app": "1st-app"}
        assert (changed.path, changed.interface, changed.member) == (ROOT, MANAGER, "AppChanged")
        assert (changed.body[0], json.loads(changed.body[1])) == ("demo", status("demo"))
        assert (properties.path, properties.member) == (DEMO, "PropertiesChanged")
        assert properties.body[0] == APP
        assert properties.body[1]["Ready"] == 4

    serve(test)
