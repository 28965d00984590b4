"""Calls with any values of the right types get an answer or one printable sentence, never an internal error."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest
from dbus_next import Message, Variant
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployd.assembly import Assembly
from deployd.bus import Bus, BusError, Credentials, MethodCall
from deployd.errors import DeploydError, InvalidFile, Refused
from deployd.files.workers import Workers
from deployd.instances.commands import Commands
from deployd.instances.recall import Recall
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.generation import Result
from deployd.model.host_drain import RolloutDrain
from deployd.model.scope import SYSTEM, Scope
from deployd.rollout.controller import Controller
from deployd.rollout.factory import ControllerFactory
from deployd.rollout.hook_runner import HookRunner
from deployd.rollout.hooks import Hooks
from deployd.rollout.teardown import Teardown
from deployd.service.introspection import APP, MANAGER, NAME, PROPERTIES, ROOT, SIGNATURES
from deployd.service.polkit import Polkit
from deployd.service.signals import Signals
from deployd.state.history import History
from deployd.state.host_drains import HostDrains
from deployd.state.pins import Pins
from deployd.systemd.execution import Execution
from deployd.systemd.manager import Systemd
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Transient
from deployd.units.deployment import Deployment
from deployd.units.timers import TimerUnits
from tests.state.four_rollouts import SETTINGS, generation

# What the bus lets through: no lone surrogates, and no NUL but in an object path, where it is written _00.
WORDS = [APP, MANAGER, NAME, "demo", "", "/", "/srv/demo/2", "\0", "\x1b[31m", "\n", "é" * 100, "x" * 1_000_000, "../"]
WORDS += ["Ready", "rollout", "reload", "deployd", "x.service", "/proc/self/root", "/etc\0", "/" + "a/" * 3000]
TEXT = st.one_of(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20), st.sampled_from(WORDS))
EDGES = [0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1]
VALUES = {
    "s": TEXT,
    "u": st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1)),
    "t": st.one_of(st.sampled_from([*EDGES, 2**63 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)),
    "d": st.floats(allow_nan=True, allow_infinity=True),
}
ANYTHING = st.one_of(
    *VALUES.values(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=5), st.none()
)
KEYS = st.one_of(
    st.sampled_from(["release", "cause", "supersede", "canary", "canary_share", "start", "past_irreversible"]), TEXT
)
VALUES["a{sv}"] = st.dictionaries(KEYS, st.one_of(ANYTHING, st.lists(ANYTHING, max_size=2)), max_size=3)
VALUES["as"] = st.lists(TEXT | st.text("0123456789abcdef", min_size=32, max_size=32), max_size=3)
VALUES["v"] = st.one_of(ANYTHING, st.lists(ANYTHING, max_size=3), st.dictionaries(TEXT, ANYTHING, max_size=2))
PATHS = st.one_of(
    st.sampled_from(
        [ROOT, f"{ROOT}/app/demo", f"{ROOT}/app", "/", f"{ROOT}/app/_00", f"{ROOT}/app/_", f"{ROOT}/app/_ff"]
    ),
    st.sampled_from([f"{ROOT}/app/demo/x", f"{ROOT}/app/" + "x" * 100_000, f"{ROOT}/app/new"]),
    st.text(max_size=30).map(lambda text: f"{ROOT}/app/{unit_name.path_encode(text)}" if text.isascii() else ROOT),
)


def parts(signature: str) -> list[str]:
    return re.findall(r"a\{sv\}|as|.", signature)


class Site:
    """The service of an app with a history, one with only a file, and one whose file is not valid."""

    def __init__(self, scope: Scope) -> None:
        self.history, pins = History(scope.apps), Pins(scope.apps)
        self.history.open()
        self.history.forget = lambda app: None  # type: ignore[method-assign]  # Remove() is called as well
        self.history.deployed(generation(1, Result.SUCCEEDED))
        self.history.deployed(generation(2, Result.SUCCEEDED))
        deployment = create_autospec(Deployment, instance=True)
        deployment.steers.return_value = False
        deployment.has_own_sockets.return_value = False
        deployment.prepare.side_effect = deployment.layout.side_effect = Refused("not here")
        deployment.settled.return_value, deployment.installed.return_value = (), {}
        deployment.sockets.return_value = ["demo.socket"]
        deployment.timers = create_autospec(TimerUnits, instance=True)
        deployment.timers.wanted.return_value, deployment.timers.installed.return_value = (), {}
        systemd, transient = create_autospec(Systemd, instance=True), create_autospec(Transient, instance=True)
        commands = Commands(create_autospec(Execution, instance=True), pins)
        hooks = Hooks(transient, HookRunner(transient, create_autospec(Tail, instance=True), commands))
        teardown = create_autospec(Teardown, instance=True)
        teardown.installed.return_value = False
        apps = Assembly(
            scope,
            create_autospec(ControllerFactory, instance=True),
            teardown,
            lambda *_: None,
            systemd=systemd,
            history=self.history,
            pins=pins,
            drains=HostDrains(scope.apps),
            rollout_drain=RolloutDrain(),
            deployment=deployment,
            hooks=hooks,
            transient=transient,
            commands=commands,
            workers=Workers(),
        )
        for name in ("bad", "demo", "new"):
            (scope.apps / f"{name}.toml").touch(mode=0o600)
        apps.files.load = self.load  # type: ignore[method-assign]
        apps.supervisor.controller = self.controller  # type: ignore[method-assign]
        self.uid = 0
        self.runner = asyncio.Runner()  # one event loop for all calls, as in the daemon
        bus = create_autospec(Bus, instance=True)
        bus.call.side_effect = BusError("org.freedesktop.DBus.Error.NameHasNoOwner", "the caller is gone")
        bus.credentials = AsyncMock(side_effect=lambda _: Credentials(self.uid, frozenset({self.uid})))
        self.service = apps.service(bus, create_autospec(Polkit, instance=True), Signals(bus))

    async def load(self, name: str, workers: Workers) -> App:
        if name == "bad":
            raise InvalidFile("bad.toml:1: \x1b[31m" + "x" * 2_000)
        return SETTINGS

    def controller(self, name: str, application: str = "") -> Controller:
        made: Controller = create_autospec(Controller, instance=True)
        made.rollout = None  # type: ignore[misc]
        made.name, made.application = name, application or name
        made.recall = create_autospec(Recall, instance=True)
        return made

    def calls(self) -> list[tuple[str, str, str]]:
        """Return (interface, member, signature) of all methods."""
        ours = [(interface, member, entry.takes) for (interface, member), entry in self.service._methods.items()]
        return ours + [(interface, member, takes) for (interface, member), takes in SIGNATURES.items()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    scope = replace(SYSTEM, configuration=tmp_path_factory.mktemp("site"))
    scope.apps.mkdir()
    made = Site(scope)
    with made.runner:
        yield made
    made.history.close()


def answer(site: Site, call: MethodCall) -> str:
    """Return "" for an answer that can be sent, and the sentence of an error; raise all other exceptions."""
    try:
        signature, body = site.runner.run(site.service._serve(call))
    except (DeploydError, BusError) as error:
        return error.message if isinstance(error, BusError) else str(error)
    body = [{key: Variant(*value) for key, value in item.items()} if signature == "a{sv}" else item for item in body]
    Message(destination=":1.1", path="/x", member="X", signature=signature, body=body)._marshall(False)
    return ""


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_values_of_the_right_types_are_answered(site: Site, data: st.DataObject) -> None:
    interface, member, takes = data.draw(st.sampled_from(site.calls()))
    wanted = ROOT if interface == MANAGER else f"{ROOT}/app/demo"
    path = data.draw(st.one_of(st.just(wanted), st.just(f"{ROOT}/app/bad"), PATHS))
    body = [data.draw(VALUES[part]) for part in parts(takes)]
    site.uid = data.draw(st.sampled_from([0, 65534]))
    given_interface = data.draw(st.sampled_from([interface, interface, interface, ""]))
    text = answer(site, MethodCall(":1.9", path, given_interface, member, takes, body))
    for line in text.split("\n"):
        assert line.isprintable(), text
        assert len(line) <= 1000


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_wrong_types_and_unknown_methods_are_refused(site: Site, data: st.DataObject) -> None:
    interface, member, takes = data.draw(st.sampled_from(site.calls()))
    signature = data.draw(st.sampled_from(["", "s", "ss", "as", "sas", "t", "x", "a{sv}", "asas", "vv", "ay", "(ss)"]))
    path = data.draw(PATHS)
    body = data.draw(st.lists(VALUES["v"], max_size=3))
    if signature != takes:
        assert answer(site, MethodCall(":1.9", path, interface, member, signature, body))
    assert answer(site, MethodCall(":1.9", path, data.draw(TEXT), "Explode", signature, body))


@pytest.mark.parametrize("number", [2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("member", ["LogMatches", "Rollback", "Event"])
def test_numbers_beyond_all_generations_are_refused(site: Site, member: str, number: int) -> None:
    takes = {"LogMatches": "t", "Rollback": "ta{sv}", "Event": "t"}[member]
    body: list[Any] = [number, {}] if member == "Rollback" else [number]
    site.uid = 0
    text = answer(site, MethodCall(":1.9", f"{ROOT}/app/demo", APP, member, takes, body))
    assert str(number) in text


def test_an_array_in_place_of_a_name_is_refused(site: Site) -> None:
    for member, signature, body in (("Get", "sas", [APP, ["Ready"]]), ("GetAll", "as", [[APP]]), ("Get", "s", [APP])):
        text = answer(site, MethodCall(":1.9", f"{ROOT}/app/demo", PROPERTIES, member, signature, body))
        assert f"{member} takes" in text


def test_an_invalid_name_is_refused_and_not_quoted(site: Site) -> None:
    for path in (f"{ROOT}/app/_00", f"{ROOT}/app/{'x' * 5_000_000}", f"{ROOT}/app/_1b_5b31m"):
        text = answer(site, MethodCall(":1.9", path, APP, "Describe", "", []))
        assert text.startswith("there is no such app")
    text = answer(site, MethodCall(":1.9", ROOT, MANAGER, "Check", "s", ["x" * 17_000_000]))
    assert text.startswith("there is no such app")
