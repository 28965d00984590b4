"""Looks at the listeners of instances: when one counts as missing, and when it cannot be known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from deployd.alarm import Alarm
from deployd.errors import SteeringError
from deployd.instances import listening
from deployd.instances.listening import LOOKS, PATIENCE, ListeningInstances, overlaid
from deployd.model.app import App, Listen, ListenKind
from deployd.model.gate import Gate, Probe
from deployd.model.instance import Instance, Listener, State
from deployd.sockdiag.passed import Found

HAS, ELSEWHERE, NOTHING = Found(passed=True), Found(passed=False, own=("127.0.0.1:8000",)), Found(passed=False)
ONE = Instance(1, 1, State.READY, invocation_id="id1")


class World:
    """Answers looks with what the test says, and a second passes after each."""

    def __init__(self, finds: Iterable[Found | Exception], probe: Probe | None) -> None:
        self.finds = list(finds)
        self.now = 0.0
        self.events: list[dict[str, Any]] = []
        self.over = asyncio.Event()
        self.gate = Gate(probe=probe)
        self.listen: tuple[Listen, ...] = (Listen(ListenKind.TCP, "127.0.0.1:80"),)

    async def read(self, *_: object) -> dict[str, str]:
        return {"ControlGroup": "/system.slice/web@1.service"}

    def settings(self, _app: str, _generation: int) -> App:
        return App("web", "/srv/web", ("/bin/web",), self.listen, gate=self.gate)

    async def run(self, _app: str, _call: object, cgroups: dict[int, str]) -> dict[int, Found]:
        if not self.finds:
            self.over.set()
            await asyncio.Event().wait()
        self.now += PATIENCE / (LOOKS - 1)
        found = self.finds.pop(0)
        if isinstance(found, Exception):
            raise found
        return dict.fromkeys(cgroups, found)


def looking(
    world: World, emit: Callable[[Any, dict[str, Any]], None], also: Callable[[], None] = lambda: None
) -> ListeningInstances:
    """Return what looks at instances in this world."""
    parts: Any = world
    cgroups, changed = Path("/sys/fs/cgroup"), lambda: None
    return ListeningInstances(
        "web", parts, parts, parts, cgroups, changed=changed, emit=emit, also=also, clock=lambda: world.now
    )


def look(
    monkeypatch: pytest.MonkeyPatch, *finds: Found | Exception, probe: Probe | None = None
) -> tuple[Instance, list[str]]:
    """Return the instance after these looks, and the states that were reported."""
    monkeypatch.setattr(listening, "AGAIN", 0.0)
    monkeypatch.setattr(listening, "INTERVAL", 0.0)

    async def work() -> tuple[Instance, list[str]]:
        world = World(finds, probe)
        states: list[str] = []
        also: list[str] = []
        looked = looking(world, lambda _event, fields: states.append(fields["state"]), lambda: also.append("done"))
        looked.update([ONE])
        assert overlaid(ONE, looked.results).listener is Listener.UNSEEN
        await asyncio.wait_for(world.over.wait(), 30)
        shown = overlaid(ONE, looked.results)
        await looked.stop()
        assert also, "with each look at all instances"
        return shown, states

    return asyncio.run(work())


def test_one_look_is_enough_to_see_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, states = look(monkeypatch, NOTHING, HAS)
    assert (shown.listener, shown.serves, states) == (Listener.PASSED, True, [])


def test_several_looks_are_needed_to_miss_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, *[ELSEWHERE] * (LOOKS - 1))[0].listener is Listener.UNSEEN
    shown, states = look(monkeypatch, *[ELSEWHERE] * LOOKS)
    assert (shown.listener, shown.serves, states) == (Listener.MISSING, False, ["missing"])
    assert shown.deaf == "listens on 127.0.0.1:8000 and not on the socket that systemd passes to it"


def test_one_that_had_it_may_lose_it_and_get_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, states = look(monkeypatch, HAS, *[NOTHING] * LOOKS, HAS, probe=Probe(http="/"))
    assert (shown.listener, states) == (Listener.PASSED, ["missing", "passed"])


def test_one_that_never_accepts_is_found_by_the_clients_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(*cookies: int, accepts: bool = False, unknown: int = 0) -> Found:
        return Found(passed=True, waiting=frozenset(cookies), unknown=unknown, accepts=accepts)

    long = 1 + ceil(Gate().timeout * (LOOKS - 1) / PATIENCE)  # looks
    assert look(monkeypatch, *[waits(7)] * (long - 1))[0].listener is Listener.PASSED
    shown, states = look(monkeypatch, *[waits(7, *range(100, 100 + count)) for count in range(long)])
    assert (shown.listener, shown.serves, states) == (Listener.UNUSED, False, ["unused"])
    assert look(monkeypatch, waits(7), *[waits(8)] * long)[0].listener is Listener.PASSED, "7 was accepted"
    assert look(monkeypatch, waits(7, accepts=True), *[waits(7)] * long)[0].listener is Listener.PASSED
    assert look(monkeypatch, *[waits(7)] * long, waits(8), waits(8))[1] == ["unused", "passed"]
    assert look(monkeypatch, waits(7), *[waits(unknown=1)] * long)[1] == ["unused"], "all clients have gone"
    assert look(monkeypatch, *[waits(count, unknown=9 - count) for count in range(9)] * long)[1] == []


def test_with_a_probe_processes_outside_of_the_unit_may_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe(http="/")
    assert look(monkeypatch, NOTHING, probe=probe)[0].listener is Listener.PASSED
    assert look(monkeypatch, *[ELSEWHERE] * LOOKS, probe=probe)[0].listener is Listener.MISSING


@pytest.mark.parametrize("error", [SteeringError("no right"), KeyError("ControlGroup")])
def test_what_cannot_be_known_is_no_fault_of_the_instance(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert look(monkeypatch, error)[0].listener is Listener.PASSED


@pytest.mark.parametrize(("begun", "next_look"), [(0.0, 15.0), (7.0, 15.0), (15.0, 30.0)])
def test_all_apps_look_at_the_same_times(monkeypatch: pytest.MonkeyPatch, begun: float, next_look: float) -> None:
    """Whenever the first look was: the next one at all instances is at a multiple of INTERVAL."""
    delays: list[float] = []
    monkeypatch.setattr(listening, "INTERVAL", 15.0)
    monkeypatch.setattr(Alarm, "set", lambda _self, delay: delays.append(delay))

    async def work() -> float:
        world = World([HAS], None)
        world.now = begun
        looked = looking(world, lambda _event, _fields: None)
        looked.update([ONE])
        await looked._look()
        return world.now

    now = asyncio.run(work())
    assert delays == [0.0, next_look - now]


def test_systemd_is_asked_about_all_new_instances_at_once() -> None:
    """It answers slowly while many boot, and none of them counts before it was seen to have its socket."""
    many = [Instance(number, 1, State.READY, invocation_id=f"id{number}") for number in range(1, 65)]

    async def work() -> None:
        world: Any = World([HAS], None)
        all_asked = asyncio.Barrier(len(many))

        async def read(*_: object) -> dict[str, str]:
            await all_asked.wait()
            return {"ControlGroup": "/system.slice/web@1.service"}

        world.read = read
        done = asyncio.Event()

        def changed() -> None:
            if all(overlaid(item, looked.results).listener is Listener.PASSED for item in many):
                done.set()

        looked = ListeningInstances(
            "web", world, world, world, Path("/sys/fs/cgroup"), changed=changed, emit=lambda *_: None
        )
        looked.update(many)
        await asyncio.wait_for(done.wait(), 30)
        await looked.stop()

    asyncio.run(work())


def test_an_instance_of_an_app_without_listen_is_never_looked_at() -> None:
    async def work() -> None:
        world: Any = World([NOTHING], None)
        world.listen = ()
        looked = ListeningInstances(
            "web", world, world, world, Path("/sys/fs/cgroup"), changed=lambda: None, emit=lambda *_: None
        )
        looked.update([ONE])
        shown = overlaid(ONE, looked.results)
        assert (shown.listener, shown.serves) == (Listener.PASSED, True)
        await asyncio.sleep(0)
        assert world.finds == [NOTHING]
        await looked.stop()

    asyncio.run(work())
