"""What each instance is passed is read once for each of its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from deployd.model.instance import Instance, State
from deployd.routing.passed_sockets import SHARED_UNIX, PassedSockets


class Systemd:
    def __init__(self) -> None:
        self.triggers: dict[str, list[str]] = {}
        self.listen: dict[str, list[str]] = {}
        self.read_units: list[str] = []

    async def read(self, unit: str, _interface: str, _names: Iterable[str]) -> dict[str, Any]:
        self.read_units.append(unit)
        listen = [("Stream", address) for address in self.listen.get(unit, [])]
        return {"TriggeredBy": self.triggers.get(unit, []), "ControlGroup": f"/x/{unit}", "Listen": listen}


def item(number: int, invocation: str, generation: int | None = 1, state: State = State.READY) -> Instance:
    return Instance(number, generation, state, invocation_id=invocation)


def test_sockets_are_read_once_for_each_process_and_told_apart_by_kind() -> None:
    systemd: Any = Systemd()
    systemd.triggers = {
        "demo@1.service": ["demo@1.socket"],
        "demo@2.service": ["demo:unix@7.socket", "demo@2.socket"],
        "demo@3.service": ["demo.socket", "demo:2.socket"],
        "demo@4.service": ["demo-x@4.socket"],
    }
    passed = PassedSockets("demo", systemd)

    async def check() -> None:
        first = tuple(item(number, "a") for number in (1, 2, 3))
        assert await passed.update(first) == {1, 2, 3}
        assert [passed.tcp(number) for number in (1, 2, 3)] == [True, True, False]
        assert (passed.by_instance(), passed.unix(2), passed.cgroup(2)) == ({2: 7}, 7, "x/demo@2.service")
        assert passed.shared() == {3: {"demo.socket", "demo:2.socket"}}
        assert await passed.update(first) == set()

        second = (item(1, "b"), first[1], item(3, "a", None, State.STOPPING))
        assert await passed.update(second) == {1}, "a new process; that 3 has lost its pin changes nothing"
        assert passed.shared()[3]
        assert await passed.update((item(1, "b", 2), *second[1:])) == {1}, "it was adopted by another generation"

        third = (second[0], item(3, "a", None, State.INACTIVE))
        await passed.update(third)
        assert (passed.by_instance(), passed.shared(), passed.cgroup(2)) == ({}, {}, "")

    asyncio.run(check())


def test_shared_unix_sockets_have_a_number_like_those_of_generations() -> None:
    systemd: Any = Systemd()
    systemd.triggers = {"demo@1.service": ["demo.socket", "demo:2.socket"], "demo@2.service": ["demo.socket"]}
    systemd.listen = {"demo.socket": ["[::]:8080"], "demo:2.socket": ["127.0.0.1:8081", "/run/demo.sock"]}
    passed = PassedSockets("demo", systemd)
    asyncio.run(passed.update((item(1, "a"), item(2, "a"))))
    assert (passed.by_instance(), passed.cgroup(1)) == ({1: SHARED_UNIX}, "x/demo@1.service")
    assert passed.shared().keys() == {1, 2}


def test_an_instance_that_is_passed_none_is_read_again() -> None:
    """Its units may not have been loaded yet."""
    systemd: Any = Systemd()
    passed = PassedSockets("demo", systemd)

    async def check() -> None:
        instances = (item(1, "a"),)
        assert [await passed.update(instances) for _ in range(2)] == [{1}, {1}]
        systemd.triggers["demo@1.service"] = ["demo@1.socket"]
        assert await passed.update(instances) == {1}
        assert passed.tcp(1)
        assert await passed.update(instances) == set()
        assert await passed.update(()) == set()
        assert not passed.tcp(1)

    asyncio.run(check())
