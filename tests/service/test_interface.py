"""Dispatch of method calls to org.deployd1, and what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import create_autospec

import pytest
from dbus_next import introspection

from deployd.apps.file_reader import FileReader
from deployd.apps.registry import Registry
from deployd.apps.statuses import Statuses
from deployd.bus import Bus, BusError
from deployd.errors import ALL, AccessDenied, Busy, DeploydError, Refused
from deployd.service.actions import NEEDED, Action
from deployd.service.consent import Consent
from deployd.service.interface import Service
from deployd.service.introspection import APP, INTROSPECTABLE, MANAGER, NAME, PEER, ROOT, description
from deployd.service.methods import Methods
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import status
from tests.service.served import CHANGES, DEMO, NOBODY, ODD, READS, Serve, Served


def test_every_method_of_the_description_is_served(serve: Serve) -> None:
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
        for member in ("Run", "Build"):
            assert json.loads(answers[APP, member]) == {"answer": member.lower()}
        named = {
            (interface.name, method.name)
            for interface in introspection.Node.parse(description()).interfaces
            for method in interface.methods
        }
        assert named == {*CHANGES, *READS}

    serve(test)


def test_a_wrong_signature_is_refused(serve: Serve) -> None:
    async def test(served: Served) -> None:
        for arguments in (("Scale", "s", "six"), ("Scale",), ("Restart", "s", "now"), ("Rollout", "s", "/srv")):
            error = await served.refused(DEMO, APP, *arguments)
            assert error.name == "org.freedesktop.DBus.Error.InvalidArgs"
            assert f"{arguments[0]} takes " in error.message
        served.requests.scale.assert_not_called()
        served.requests.restart.assert_not_called()
        served.polkit.authorise.assert_not_awaited()

    serve(test)


def test_unknown_objects_and_methods_are_refused(serve: Serve) -> None:
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


def test_without_consent_apps_can_be_read_but_not_changed(serve: Serve) -> None:
    async def test(served: Served) -> None:
        served.uid = NOBODY
        served.polkit.authorise.side_effect = AccessDenied("rollout needs root")
        for (interface, member), body in CHANGES.items():
            with pytest.raises(BusError) as raised:
                await served.method(interface, member, body)
            assert raised.value.name == "org.deployd1.Error.AccessDenied"
        assert served.polkit.authorise.await_count == len(CHANGES)
        asked = [call.args for call in served.polkit.authorise.await_args_list]
        assert {caller.sender for caller, _, _ in asked} == {served.client.name}
        assert [action for _, action, _ in asked] == [NEEDED[member] for _, member in CHANGES]
        release = "/srv/demo/releases/7"
        details = [details for _, _, details in asked]
        assert {"app": "demo", "verb": "rollout", "release": release} in details
        assert {"app": "demo", "verb": "weight", "release": release} in details
        assert {"app": "", "verb": "reload", "release": ""} in details
        served.require_unchanged()
        for (interface, member), body in READS.items():
            await served.method(interface, member, body)
        assert served.polkit.authorise.await_count == len(CHANGES), "reading needs no consent"

    serve(test)


def test_superseding_needs_what_abort_needs_as_well(serve: Serve) -> None:
    """A caller that may only scale cannot end a rollout by it."""

    async def test(served: Served) -> None:
        served.uid = NOBODY
        await served.call(DEMO, APP, "Scale", "ua{sv}", 3, {"supersede": ("b", False)})
        await served.call(DEMO, APP, "Scale", "ua{sv}", 3, {"supersede": ("b", True)})
        asked = [call.args for call in served.polkit.authorise.await_args_list]
        scale = (Action.SCALE, "scale")
        assert [(action, details["verb"]) for _, action, details in asked] == [
            scale,
            scale,
            (Action.PAUSE, "supersede"),
        ]
        served.requests.reset_mock()
        served.generations.current.return_value.release = "/srv/demo/releases/6"
        await served.call(DEMO, APP, "Rollout", "a{sv}", {"supersede": ("b", True)})
        releases = [call.args[2]["release"] for call in served.polkit.authorise.await_args_list[-2:]]
        assert releases == ["/srv/demo/releases/7", "/srv/demo/releases/6"]
        served.requests.reset_mock()
        served.polkit.authorise.side_effect = [None, AccessDenied("supersede needs root")]
        error = await served.refused(DEMO, APP, "Scale", "ua{sv}", 3, {"supersede": ("b", True)})
        assert error.name == "org.deployd1.Error.AccessDenied"
        served.require_unchanged()

    serve(test)


@pytest.mark.parametrize("allowed", [True, False])
def test_polkit_decides_on_lines_for_callers_that_cannot_read_the_journal(serve: Serve, allowed: bool) -> None:
    async def test(served: Served) -> None:
        served.uid = NOBODY
        served.polkit.allows.return_value = allowed
        await served.call(DEMO, APP, "History")
        served.polkit.allows.assert_not_awaited()  # there is no line in it
        event = json.loads(await served.call(DEMO, APP, "Event", "t", served.event))
        assert (event["journal"], event["journal_lines"]) == (["secret"] if allowed else [], 1)
        _, action, details = served.polkit.allows.await_args.args
        assert (action, details["app"]) == (Action.READ_LOGS, "demo")
        served.requests.rollout.side_effect = Refused("the hook failed", ["secret"])
        served.polkit.authorise.side_effect = None
        error = await served.refused(DEMO, APP, "Rollout", "a{sv}", {})
        assert ("secret" in error.message) == allowed

    serve(test)


@pytest.mark.parametrize("error", ALL)
def test_each_error_has_its_name_on_the_bus(serve: Serve, error: type[DeploydError]) -> None:
    async def test(served: Served) -> None:
        served.requests.rollout.side_effect = error("one clear sentence")
        reply = await served.refused(DEMO, APP, "Rollout", "a{sv}", {})
        assert (reply.name, reply.message) == (f"org.deployd1.Error.{error.name}", "one clear sentence")

    serve(test)


def test_a_slow_request_delays_no_other_call(serve: Serve) -> None:
    async def test(served: Served) -> None:
        proceed = asyncio.Event()

        async def slow(*_: Any, **__: Any) -> int:
            await proceed.wait()
            return 9

        served.requests.apply.side_effect = slow
        applying = asyncio.ensure_future(served.call(DEMO, APP, "Apply", "a{sv}", {}))
        assert json.loads(await served.call(DEMO, APP, "History")) == {"answer": "history"}
        assert not applying.done()
        proceed.set()
        assert await applying == 9

    serve(test)


def test_start_fails_if_another_process_owns_the_name(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (other, server):
            await other.request_name(NAME)
            service = Served(server, other).service
            with pytest.raises(BusError, match="another process owns"):
                await service.start()

    run(work())


def test_a_method_without_an_implementation_stops_the_daemon_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    xml = f'<node><interface name="{MANAGER}"><method name="Explode"/></interface></node>'
    monkeypatch.setattr("deployd.service.interface.description", lambda: xml)
    bus, consent, registry, statuses, files = (
        create_autospec(kind, instance=True) for kind in (Bus, Consent, Registry, Statuses, FileReader)
    )
    with pytest.raises(KeyError, match="Explode"):
        Service(bus, {MANAGER: Methods({}, {})}, consent, registry, statuses, files)


def test_a_second_rollout_is_busy(serve: Serve) -> None:
    async def test(served: Served) -> None:
        served.requests.rollout.side_effect = [8, Busy("a rollout of demo to generation 8 is rolling; wait for it")]
        assert await served.call(DEMO, APP, "Rollout", "a{sv}", {}) == 8
        assert (await served.refused(DEMO, APP, "Rollout", "a{sv}", {})).name == "org.deployd1.Error.Busy"

    serve(test)
