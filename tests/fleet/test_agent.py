"""The agent of a host with a real etcd, and a stand-in for the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from unittest.mock import create_autospec

import pytest

from deployd.errors import Unreachable
from deployd_cli.fleet import keys
from deployd_cli.fleet.agent import AppAgent
from deployd_cli.fleet.etcd import Delete, Etcd, Put, Range
from deployd_cli.fleet.gateway import Access
from deployd_cli.fleet.host import HostApp, Identity
from deployd_cli.fleet.record import HostRecord
from deployd_cli.fleet.service_manager import ServiceManager
from deployd_cli.fleet.turn import Me
from tests.fleet.cluster import DEADLINE, Cluster

ROOT = keys.root("/t", "shop")
KEY = ROOT + keys.host("web1")
ME = Me("web1", "m1", "boot", "invocation", "2026-01-01T00:00:00Z", live="v1")


class Manager(ServiceManager):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.logged = asyncio.Event()

    def log(self, text: str) -> None:
        self.lines.append(text)
        self.logged.set()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as found:
        yield found


def run(
    cluster: Cluster, host: HostApp, record: str, until: Callable[[AppAgent, Manager], Awaitable[object]]
) -> Manager:
    """Have an agent take part, with this record in its key if there is one, until something has happened."""

    async def taking_part() -> Manager:
        manager = Manager()
        agent = AppAgent(host, Identity("web1", "m1", "boot", "invocation"), ROOT, manager)
        async with asyncio.timeout(DEADLINE), Etcd(Access(cluster.endpoints)) as etcd:
            await etcd.write([], [Put(KEY, record) if record else Delete(KEY)])
            part = asyncio.create_task(agent.take_part(etcd))
            await until(agent, manager)
            part.cancel()
            await asyncio.gather(part, return_exceptions=True)
            assert ((await etcd.read(Range(KEY))).items[KEY].value == record) is bool(record)
        return manager

    return asyncio.run(taking_part())


def stand_in(*answers: Me | Exception) -> HostApp:
    host = create_autospec(HostApp, instance=True)
    host.app = "shop"
    host.me.side_effect = [*answers, *[ME] * 10]
    found: HostApp = host
    return found


def test_it_registers_also_if_the_daemon_does_not_answer_at_first(cluster: Cluster) -> None:
    manager = run(cluster, stand_in(Unreachable("no daemon")), "", lambda agent, _: agent.registered.wait())
    assert manager.lines == ["shop: no daemon; trying again", "shop: register"]


def test_a_name_that_another_machine_has_is_not_taken(cluster: Cluster) -> None:
    other = HostRecord("m2").text()
    manager = run(cluster, stand_in(), other, lambda _, manager: manager.logged.wait())
    assert "another machine, with the machine ID m2, is a member of the fleet as web1" in manager.lines[0]
