"""org.deployd1 on a real bus, with apps that only note what they are asked: dispatch, refusals, introspection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from unittest.mock import ANY, AsyncMock, create_autospec

import pytest
from dbus_next import introspection

from deployd.apps.app_files import AppFiles
from deployd.apps.registry import Registry
from deployd.apps.requests import Requests
from deployd.apps.views import Views
from deployd.bus import Bus, BusError, Credentials, Signal, variant
from deployd.errors import ALL, AccessDenied, Busy, DeploydError, NoSuchApp
from deployd.model.generation import Cause
from deployd.service.interface import APP, MANAGER, NAME, ROOT, Service, _find_xml
from deployd.service.introspection import INTROSPECTABLE, PEER, PROPERTIES
from deployd.service.polkit import Polkit
from deployd.state.history import History
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import private_bus, status

Calls = dict[tuple[str, str], list[Any]]

NOBODY = 65534
DEMO = f"{ROOT}/app/demo"
ODD = f"{ROOT}/app/_31st_2dapp"  # 1st-app
CHANGES: Calls = {
    (MANAGER, "Reload"): [],
    (MANAGER, "Repair"): [],
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
    (APP, "Releases"): [],
    (APP, "Compare"): [],
    (APP, "LogMatches"): [0],
    (APP, "Event"): [1],
}
SIGNATURES = {
    **dict.fromkeys(("Apply", "Rollout", "Restart", "Abort", "Plan"), "a{sv}"),
    "Rollback": "ta{sv}",
    "Scale": "ua{sv}",
    "SetWeight": "tda{sv}",
    "Check": "s",
    "LogMatches": "t",
    "HistoryBefore": "t",
    "Event": "t",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


class Served:
    """A service and a client of it."""

    def __init__(self, server: Bus, client: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.apps, self.views, self.requests = (
            create_autospec(kind, instance=True) for kind in (Registry, Views, Requests)
        )
        self.views.names.return_value = ["1st-app", "demo"]
        self.apps.find.side_effect = self._find
        self.apps.status.side_effect = status
        self.apps.repair.return_value = {"answer": "repair"}
        self.apps.unknown.side_effect = lambda name: NoSuchApp(f"there is no app {name}")
        for name in ("describe", "check", "history", "units", "plan", "releases", "compare"):
            getattr(self.views, name).return_value = {"answer": name}
        self.views.log_matches.return_value = ["--unit=demo.service"]
        for name in ("apply", "rollout", "rollback", "restart", "scale"):
            getattr(self.requests, name).return_value = 8
        self.polkit = create_autospec(Polkit, instance=True)
        monkeypatch.setattr("deployd.service.interface.Views", lambda _: self.views)
        monkeypatch.setattr("deployd.service.interface.Requests", lambda _: self.requests)
        self.apps.files = create_autospec(AppFiles, instance=True)
        self.apps.files.load.return_value.release = "/srv/demo/releases/7"
        self.apps.history = create_autospec(History, instance=True)
        self.apps.history.past.return_value = []
        self.apps.current.return_value.release = "/srv/demo/releases/7"
        self.service = Service(server, self.apps, self.polkit)
        self.service.emit("demo", "event", {"event": "hook", "journal": ["secret"]})
        self.event = self.service._last_event
        self.uid = 0
        server.credentials = AsyncMock(side_effect=lambda _: Credentials(self.uid, frozenset()))  # type: ignore[method-assign]

    def _find(self, name: str) -> None:
        if name not in self.views.names.return_value:
            raise self.apps.unknown(name)

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Any:
        answer = await self.client.call(NAME, path, interface, member, signature, list(body), timeout=5)
        return answer[0] if answer else None

    async def method(self, interface: str, member: str, body: list[Any]) -> Any:
        """A method of the API, as its description says."""
        path = ROOT if interface == MANAGER else DEMO
        body = [self.event] if member == "Event" else body
        return await self.call(path, interface, member, SIGNATURES.get(member, ""), *body)

    async def refused(self, *arguments: Any) -> BusError:
        with pytest.raises(BusError) as raised:
            await self.call(*arguments)
        return raised.value


Test = Callable[[Served], Coroutine[Any, Any, None]]


@pytest.fixture
def serve(address: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Test], None]:
    @contextlib.asynccontextmanager
    async def served() -> AsyncIterator[Served]:
        async with connections(address, 2) as (server, client):
            made = Served(server, client, monkeypatch)
            await made.service.start()
            yield made

    async def work(test: Test) -> None:
        async with served() as made:
            await test(made)

    return lambda test: run(work(test))


def test_every_method_of_the_description_is_served(serve: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        answers = {
            (interface, member): await served.method(interface, member, body)
            for (interface, member), body in {**CHANGES, **READS}.items()
        }
        assert answers[MANAGER, "ListApps"] == [["1st-app", ODD], ["demo", DEMO]]
        assert json.loads(answers[APP, "Describe"]) == status("demo")
        assert json.loads(answers[APP, "History"]) == {"answer": "history"}
        assert answers[APP, "LogMatches"] == ["--unit=demo.service"]
        for member in ("Apply", "Rollout", "Rollback", "Restart", "Scale"):
            assert answers[APP, member] == 8
        for member in ("Pause", "Resume", "Abort", "Remove"):
            assert answers[APP, member] is None
        named = {
            (interface.name, method.name)
            for interface in introspection.Node.parse(_find_xml()).interfaces
            for method in interface.methods
        }
        assert named == {*CHANGES, *READS}

    serve(test)


def test_requests_arrive_as_they_were_meant(serve: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        release = ("s", "/srv/demo/v2")
        await served.call(DEMO, APP, "Rollout", "a{sv}", {"release": release, "cause": ("s", "reload")})
        served.requests.rollout.assert_awaited_once_with(
            "demo", cause=Cause.RELOAD, agreed=None, release="/srv/demo/v2"
        )
        await served.call(ODD, APP, "Apply", "a{sv}", {"start": ("b", False)})
        served.requests.apply.assert_awaited_once_with("1st-app", agreed=None, start=False)
        await served.call(DEMO, APP, "Plan", "a{sv}", {"release": release})
        served.views.plan.assert_called_once_with(ANY, "demo", release="/srv/demo/v2")
        await served.call(DEMO, APP, "Scale", "ua{sv}", 6, {})
        served.requests.scale.assert_awaited_once_with("demo", 6)
        await served.call(DEMO, APP, "Rollback", "ta{sv}", 3, {})
        served.requests.rollback.assert_awaited_once_with("demo", 3)

    serve(test)


def test_every_writer_is_told_its_options(serve: Callable[[Test], None]) -> None:
    yes, two = ("b", True), ("u", 2)

    async def test(served: Served) -> None:
        await served.call(DEMO, APP, "Rollout", "a{sv}", {"canary": two, "supersede": yes})
        served.requests.rollout.assert_awaited_once_with(
            "demo", cause=Cause.ROLLOUT, agreed=None, canary=2, supersede=True
        )
        await served.call(DEMO, APP, "Apply", "a{sv}", {"canary": two, "supersede": yes})
        served.requests.apply.assert_awaited_once_with("demo", agreed=None, canary=2, supersede=True)
        await served.call(DEMO, APP, "Rollback", "ta{sv}", 3, {"supersede": yes, "past_irreversible": yes})
        served.requests.rollback.assert_awaited_once_with("demo", 3, supersede=True, past_irreversible=True)
        await served.call(DEMO, APP, "Restart", "a{sv}", {"supersede": yes})
        served.requests.restart.assert_awaited_once_with("demo", supersede=True)
        await served.call(DEMO, APP, "Scale", "ua{sv}", 6, {"supersede": yes})
        served.requests.scale.assert_awaited_once_with("demo", 6, supersede=True)
        await served.call(DEMO, APP, "Abort", "a{sv}", {"past_irreversible": yes})
        served.requests.abort.assert_called_once_with("demo", past_irreversible=True)
        await served.call(DEMO, APP, "Plan", "a{sv}", {"canary": two})
        served.views.plan.assert_called_once_with(ANY, "demo", canary=2)
        share = {"canary_share": ("d", 0.05)}
        await served.call(DEMO, APP, "Rollout", "a{sv}", share)
        served.requests.rollout.assert_awaited_with("demo", cause=Cause.ROLLOUT, agreed=None, canary_share=0.05)
        await served.call(DEMO, APP, "Apply", "a{sv}", share)
        served.requests.apply.assert_awaited_with("demo", agreed=None, canary_share=0.05)
        await served.call(DEMO, APP, "Plan", "a{sv}", share)
        served.views.plan.assert_called_with(ANY, "demo", canary_share=0.05)
        await served.call(DEMO, APP, "SetWeight", "tda{sv}", 3, 0.25, {})
        served.requests.weigh.assert_called_once_with("demo", 3, 0.25)

    serve(test)


BEGIN = "canary, canary_share, cause, release, supersede"
APPLY = "canary, canary_share, start, supersede"


@pytest.mark.parametrize(
    ("member", "options", "says"),
    [
        ("Rollout", {"relase": ("s", "/x")}, f'unknown option "relase"; known are {BEGIN}'),
        ("Rollout", {"release": ("u", 1)}, 'option "release" must be of type str'),
        ("Rollout", {"cause": ("s", "apply")}, 'cause "apply": allowed are rollout and reload'),
        ("Apply", {"release": ("s", "/x")}, f'unknown option "release"; known are {APPLY}'),
        ("Rollout", {"canary": ("b", True)}, 'option "canary" must be of type int'),
        ("Restart", {"canary": ("u", 1)}, 'unknown option "canary"; known are supersede'),
        ("Abort", {"past_irreversible": ("u", 1)}, 'option "past_irreversible" must be of type bool'),
        ("Apply", {"start": ("s", "no")}, 'option "start" must be of type bool'),
        ("Plan", {"start": ("b", True)}, 'unknown option "start"; known are canary, canary_share, release'),
    ],
)
def test_options_that_are_not_known_are_refused(
    serve: Callable[[Test], None], member: str, options: dict[str, Any], says: str
) -> None:
    async def test(served: Served) -> None:
        error = await served.refused(DEMO, APP, member, "a{sv}", options)
        assert (error.name, error.message) == ("org.deployd1.Error.InvalidRequest", says)
        served.requests.rollout.assert_not_called()
        served.requests.apply.assert_not_called()
        served.requests.restart.assert_not_called()
        served.requests.abort.assert_not_called()
        served.views.plan.assert_not_called()

    serve(test)


def test_a_wrong_signature_is_refused_and_told(serve: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        for arguments in (("Scale", "s", "six"), ("Scale",), ("Restart", "s", "now"), ("Rollout", "s", "/srv")):
            error = await served.refused(DEMO, APP, *arguments)
            assert error.name == "org.freedesktop.DBus.Error.InvalidArgs"
            assert f"{arguments[0]} takes " in error.message
        served.requests.scale.assert_not_called()
        served.requests.restart.assert_not_called()
        served.polkit.authorise.assert_not_awaited()

    serve(test)


def test_what_is_not_there_is_refused_by_name(serve: Callable[[Test], None]) -> None:
    unknown = "org.freedesktop.DBus.Error.UnknownMethod"

    async def test(served: Served) -> None:
        for path, interface, member, name in (
            (DEMO, APP, "Explode", unknown),
            (DEMO, MANAGER, "ListApps", unknown),
            (ROOT, APP, "History", unknown),
            (ROOT, "org.example", "History", unknown),
            (ROOT, PEER, "Explode", unknown),
            (f"{ROOT}/app/other", APP, "History", "org.deployd1.Error.NoSuchApp"),
            ("/", APP, "History", "org.deployd1.Error.NoSuchApp"),
            (f"{ROOT}/app/other", INTROSPECTABLE, "Introspect", "org.deployd1.Error.NoSuchApp"),
        ):
            error = await served.refused(path, interface, member)
            assert error.name == name, (path, interface, member)
            assert error.message

    serve(test)


def test_without_consent_nothing_is_changed_and_everything_read(serve: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        served.uid = NOBODY
        served.polkit.authorise.side_effect = AccessDenied("Rollout of demo needs root")
        served.requests.rollback_goal.return_value.release = "/srv/demo/releases/7"
        for (interface, member), body in CHANGES.items():
            with pytest.raises(BusError) as raised:
                await served.method(interface, member, body)
            assert raised.value.name == "org.deployd1.Error.AccessDenied"
        assert served.polkit.authorise.await_count == len(CHANGES)
        asked = [call.args for call in served.polkit.authorise.await_args_list]
        assert {caller.sender for caller, _, _ in asked} == {served.client.name}
        assert {"Rollout of demo", f"Reload of {NAME}"} <= {what for _, what, _ in asked}
        release = "/srv/demo/releases/7"
        details = [details for _, _, details in asked]
        assert {"app": "demo", "verb": "rollout", "release": release} in details
        assert {"app": "demo", "verb": "weight", "release": release} in details
        assert {"app": "", "verb": "reload", "release": ""} in details
        served.apps.reload.assert_not_called()
        assert {call[0] for call in served.requests.mock_calls} == {"rollback_goal"}
        for (interface, member), body in READS.items():
            await served.method(interface, member, body)
        assert served.polkit.authorise.await_count == len(CHANGES), "reading asks nobody"

    serve(test)


@pytest.mark.parametrize("error", ALL)
def test_each_error_has_its_name_on_the_bus(serve: Callable[[Test], None], error: type[DeploydError]) -> None:
    async def test(served: Served) -> None:
        served.requests.rollout.side_effect = error("one clear sentence")
        reply = await served.refused(DEMO, APP, "Rollout", "a{sv}", {})
        assert (reply.name, reply.message) == (f"org.deployd1.Error.{error.name}", "one clear sentence")

    serve(test)


def test_a_slow_request_keeps_nobody_waiting(serve: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        go_on = asyncio.Event()

        async def slow(*_: Any, **__: Any) -> int:
            await go_on.wait()
            return 9

        served.requests.apply.side_effect = slow
        applying = asyncio.ensure_future(served.call(DEMO, APP, "Apply", "a{sv}", {}))
        assert json.loads(await served.call(DEMO, APP, "History")) == {"answer": "history"}
        assert not applying.done()
        go_on.set()
        assert await applying == 9

    serve(test)


def test_properties(serve: Callable[[Test], None]) -> None:
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
        served.apps.status.side_effect = lambda _: first_deploy
        everything = await served.call(DEMO, PROPERTIES, "GetAll", "s", APP)
        assert (everything["Generation"], everything["Release"], everything["Phase"]) == (0, "", "rolling")
        error = await served.refused(DEMO, PROPERTIES, "Get", "ss", APP, "Colour")
        assert error.name == "org.freedesktop.DBus.Error.UnknownProperty"
        for arguments in (("Set", "ssv", APP, "Desired", variant("u", 9)), ("Get", "s", APP)):
            await served.refused(DEMO, PROPERTIES, *arguments)

    serve(test)


def test_every_node_introspects_validly_and_leads_to_all_others(serve: Callable[[Test], None]) -> None:
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


def test_signals_are_as_described(serve: Callable[[Test], None]) -> None:
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
        served.service.emit("1st-app", "event", {"event": "started", "app": "1st-app"})
        served.service.emit("demo", "changed", status("demo"))
        event, changed, properties = [await got.get() for _ in range(3)]
        assert (event.path, event.interface, event.member) == (ODD, APP, "RolloutEvent")
        assert json.loads(event.body[0]) == {"event": "started", "app": "1st-app"}
        assert (changed.path, changed.interface, changed.member) == (ROOT, MANAGER, "AppChanged")
        assert (changed.body[0], json.loads(changed.body[1])) == ("demo", status("demo"))
        assert (properties.path, properties.member) == (DEMO, "PropertiesChanged")
        assert properties.body[0] == APP
        assert properties.body[1]["Ready"] == 4

    serve(test)


def test_the_name_is_taken_when_somebody_else_has_it(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (other, server):
            await other.request_name(NAME)
            service = Service(server, create_autospec(Registry, instance=True), create_autospec(Polkit, instance=True))
            with pytest.raises(BusError, match="another process owns"):
                await service.start()

    run(work())


def test_a_method_without_an_implementation_stops_the_daemon_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    xml = f'<node><interface name="{MANAGER}"><method name="Explode"/></interface></node>'
    monkeypatch.setattr("deployd.service.interface._find_xml", lambda: xml)
    with pytest.raises(KeyError, match="Explode"):
        Service(*(create_autospec(kind, instance=True) for kind in (Bus, Registry, Polkit)))


def test_busy_is_what_a_second_rollout_gets(serve: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        served.requests.rollout.side_effect = [8, Busy("a rollout of demo to generation 8 is rolling; wait for it")]
        assert await served.call(DEMO, APP, "Rollout", "a{sv}", {}) == 8
        assert (await served.refused(DEMO, APP, "Rollout", "a{sv}", {})).name == "org.deployd1.Error.Busy"

    serve(test)
