"""Drivers with a real etcd and no agents: goals, requests, and what is refused."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest

from deployd.errors import Busy, DeploydError, InvalidRequest, Refused
from deployd_cli.fleet import driver as drivers_module
from deployd_cli.fleet import keys
from deployd_cli.fleet.driver import Driver, Wanted
from deployd_cli.fleet.etcd import Delete, Etcd, Put, Range
from deployd_cli.fleet.gateway import Access, EtcdUnavailable
from deployd_cli.fleet.record import HostRecord
from deployd_cli.fleet.report import document, history_document
from deployd_cli.fleet.settings import FleetSettings
from tests.fleet.cluster import DEADLINE, Cluster

HOSTS = ("web1", "web2", "web3")
V2 = Wanted("v2", canaries=HOSTS, batches="1")

Work = Callable[[Sequence[Driver]], Awaitable[None]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as found:
        yield found


def run(cluster: Cluster, work: Work, hosts: Sequence[str] = HOSTS) -> None:
    """Call `work` with two drivers of a fleet in which these hosts are registered."""
    settings = FleetSettings(Access(cluster.endpoints), "/t", "web1", ())

    async def connected() -> None:
        async with asyncio.timeout(DEADLINE), Etcd(settings.access) as etcd:
            old = (await etcd.read(Range("/t/", prefix=True))).items
            await etcd.write([], [Delete(key) for key in old])
            root = keys.root(settings.prefix, "shop")
            records = {host: HostRecord(f"machine of {host}").text() for host in hosts}
            await etcd.write([], [Put(root + keys.host(host), text) for host, text in records.items()])
            await work([Driver(etcd, settings, "shop"), Driver(etcd, settings, "shop")])

    asyncio.run(connected())


def test_of_two_goals_at_the_same_time_one_is_set(cluster: Cluster) -> None:
    async def work(drivers: Sequence[Driver]) -> None:
        views = [await driver.view() for driver in drivers]
        assert [view.token for view in views] == [0, 0]
        results = await asyncio.gather(*(driver.rollout(V2) for driver in drivers), return_exceptions=True)
        tokens = [item for item in results if isinstance(item, int)]
        assert len(tokens) == 1, results
        assert {type(item) for item in results} <= {int, Refused, Busy}
        found = document("shop", await drivers[0].view())
        assert found["goal"]["token"] == tokens[0]
        assert [item["host"] for item in found["hosts"]] == list(HOSTS)

    run(cluster, work)


def test_a_goal_in_progress_is_replaced_only_on_request(cluster: Cluster) -> None:
    async def work(drivers: Sequence[Driver]) -> None:
        driver, other = drivers
        first = await driver.rollout(V2)
        with pytest.raises(Busy, match=r"is in progress .*; wait for its end, abort it, or replace it with --supersed"):
            await other.rollout(Wanted("v3"))
        second = await other.rollout(Wanted("v3", supersede=True))
        third = await driver.abort()
        assert first < second < third
        goals = history_document("shop", await other.history())["goals"]
        assert [(item["kind"], item["release"], item["outcome"]) for item in goals] == [
            ("abort", None, None),
            ("rollout", "v3", "superseded"),
            ("rollout", "v2", "superseded"),
        ]

    run(cluster, work)


@pytest.mark.parametrize(
    ("wanted", "hosts", "error", "sentence"),
    [
        (V2, (), Refused, "no host takes part in its rollouts yet; add it to apps in /etc/deployd/fleet.toml"),
        (Wanted("v2", canaries=["web9"]), HOSTS, InvalidRequest, "--canary web9: there is no such host in the fleet"),
        (Wanted("v2", batches="1,none"), HOSTS, InvalidRequest, "--batches: 'none' is no size of a batch"),
    ],
)
def test_what_cannot_be_a_goal_is_refused(
    cluster: Cluster, wanted: Wanted, hosts: Sequence[str], error: type[DeploydError], sentence: str
) -> None:
    async def work(drivers: Sequence[Driver]) -> None:
        with pytest.raises(error) as caught:
            await drivers[0].rollout(wanted)
        assert sentence in str(caught.value)

    run(cluster, work, hosts)


def test_a_fleet_is_paused_resumed_and_continues_without_a_host(cluster: Cluster) -> None:
    async def work(drivers: Sequence[Driver]) -> None:
        driver, _ = drivers
        await driver.rollout(V2)
        await driver.pause("a test")
        with pytest.raises(Refused, match="the fleet is paused already"):
            await driver.pause("a test")
        assert document("shop", await driver.view())["state"] == "paused"
        await driver.resume()
        with pytest.raises(Refused, match="the fleet is not paused"):
            await driver.resume()
        await driver.release_slot("web1")
        found = document("shop", await driver.view())
        assert {item["host"]: item["state"] for item in found["hosts"]} == {
            "web1": "unknown",
            "web2": "old",
            "web3": "old",
        }
        with pytest.raises(Refused, match="web1: nothing waits for it"):
            await driver.release_slot("web1")

    run(cluster, work)


def test_views_follow_every_change(cluster: Cluster) -> None:
    async def work(drivers: Sequence[Driver]) -> None:
        driver, other = drivers
        tokens: list[int] = []
        async for view in driver.views():
            if not tokens:
                tokens.append(await other.rollout(V2))
            elif view.token == tokens[0]:
                break
        assert view.wide

    run(cluster, work)


def test_a_member_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def followed(driver: Driver, own: Cluster) -> None:
        async for _ in driver.views():
            own.members[0].signal(signal.SIGSTOP)

    async def work(own: Cluster) -> None:
        settings = FleetSettings(Access(own.endpoints, timeout=1.0), "/t", "web1", ())
        async with asyncio.timeout(DEADLINE), Driver.connect(settings, "shop") as driver:
            with pytest.raises(EtcdUnavailable, match="does not answer"):
                await followed(driver, own)

    monkeypatch.setattr(drivers_module, "HEARTBEAT", 0.05)
    with Cluster(3) as own:
        asyncio.run(work(own))
