"""The client of etcd's gateway, with a real etcd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from deployd_cli.fleet.etcd import Change, Compare, Delete, Etcd, Item, Put, Range
from deployd_cli.fleet.gateway import Access, EtcdRefused, EtcdUnavailable, Gateway
from tests.fleet.cluster import DEADLINE, Cluster

ALL = Range("/t/", prefix=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as found:
        yield found


def run(work: Callable[[Etcd], Awaitable[None]], access: Access) -> None:
    async def connected() -> None:
        async with asyncio.timeout(DEADLINE), Etcd(access) as etcd:
            await etcd.write([], [Delete(key) for key in (await etcd.read(ALL)).items])
            await work(etcd)

    asyncio.run(connected())


def test_a_transaction_is_made_only_while_nothing_else_was_written(cluster: Cluster) -> None:
    async def work(etcd: Etcd) -> None:
        first = await etcd.write([Compare("/t/a", 0)], [Put("/t/a", "ä\n"), Put("/t/b", "")])
        assert first
        assert await etcd.write([Compare("/t/a", 0)], [Put("/t/a", "late")]) == 0
        second = await etcd.write([Compare("/t/a", first), Compare("/t/b", first)], [Put("/t/a", "2"), Delete("/t/b")])
        assert second > first
        await etcd.write([], [Put("/t0", "not below the prefix")])
        for since, made in ((first, False), (second, True)):
            assert bool(await etcd.write([Compare("/t/", since, prefix=True)], [Delete("/t/none")])) is made
        assert await etcd.write([Compare("/none/", 1, prefix=True)], [Delete("/t/none")])
        found = await etcd.read(ALL, Range("/t/none"))
        assert found.items == {"/t/a": Item("2", second)}
        assert found.revision > second
        await etcd.write([], [Delete("/t0")])

    run(work, Access(cluster.endpoints))


def test_a_watch_has_all_that_changed_after_a_revision(cluster: Cluster) -> None:
    async def work(etcd: Etcd) -> None:
        first = await etcd.write([], [Put("/t/a", "1")])
        second = await etcd.write([], [Put("/t/a", "2"), Put("/t/b", "2")])
        third = await etcd.write([], [Delete("/t/a")])
        found: list[Change] = []
        async with etcd.watch(ALL, after=first) as changes:
            async for some in changes:
                found += some
                if some[-1].revision == third:
                    fourth = await etcd.write([], [Put("/t/b", "4")])
                elif some[-1].revision > third:
                    break
        assert found == [
            Change("/t/a", "2", second),
            Change("/t/b", "2", second),
            Change("/t/a", None, third),
            Change("/t/b", "4", fourth),
        ]

    run(work, Access(cluster.endpoints))


def test_a_lease_is_renewed_until_it_is_unknown(cluster: Cluster) -> None:
    async def work(etcd: Etcd) -> None:
        lease = await etcd.grant(60)
        await etcd.write([], [Put("/t/alive", "", lease)])
        assert await etcd.keep_alive(lease)
        assert not await etcd.keep_alive(lease + 1)

    run(work, Access(cluster.endpoints))


def test_what_etcd_refuses_is_said(cluster: Cluster) -> None:
    async def work(etcd: Etcd) -> None:
        with pytest.raises(EtcdRefused, match="etcd refuses: etcdserver: requested lease not found"):
            await etcd.write([], [Put("/t/alive", "", 4711)])

    run(work, Access(cluster.endpoints))


def test_a_user_logs_in_and_again_when_the_member_has_forgotten_it() -> None:
    async def work(own: Cluster) -> None:
        administrator = Access(own.endpoints, user="root", password="secret")
        async with asyncio.timeout(DEADLINE), Gateway(administrator) as gateway:
            await gateway.call("auth/user/add", {"name": "root", "password": "secret"}, repeat=False)
            await gateway.call("auth/role/add", {"name": "root"}, repeat=False)
            await gateway.call("auth/user/grant", {"user": "root", "role": "root"}, repeat=False)
            await gateway.call("auth/enable", {}, repeat=False)
        async with asyncio.timeout(DEADLINE), Etcd(administrator) as etcd:
            first = await etcd.write([], [Put("/t/a", "1")])
            own.members[0].stop()
            own.start(*own.members)
            assert (await etcd.read(ALL)).items == {"/t/a": Item("1", first)}
            async with etcd.watch(ALL, after=0) as changes:
                assert await anext(aiter(changes)) == [Change("/t/a", "1", first)]
        for wrong in (Access(own.endpoints), Access(own.endpoints, user="root", password="guess")):
            async with asyncio.timeout(DEADLINE), Etcd(wrong) as etcd:
                with pytest.raises(EtcdRefused, match=r"etcd refuses: etcdserver: (user name is empty|authenticat)"):
                    await etcd.read(ALL)

    with Cluster() as own:
        asyncio.run(work(own))


def test_the_next_member_answers_and_none_without_a_quorum() -> None:
    async def work(own: Cluster) -> None:
        async with asyncio.timeout(DEADLINE), Etcd(Access(own.endpoints)) as etcd:
            first = await etcd.write([], [Put("/t/a", "1")])
            own.members[0].stop()
            assert (await etcd.read(ALL)).items == {"/t/a": Item("1", first)}
        own.members[1].stop()
        async with asyncio.timeout(DEADLINE), Etcd(Access(own.endpoints, timeout=0.3)) as etcd:
            with pytest.raises(EtcdUnavailable):
                await etcd.write([], [Put("/t/a", "2")])
            with pytest.raises(EtcdUnavailable):
                await etcd.read(ALL)

    with Cluster(3) as own:
        asyncio.run(work(own))


def test_a_watch_ends_with_its_member() -> None:
    async def watched(own: Cluster, etcd: Etcd) -> None:
        async with etcd.watch(ALL, after=0) as changes:
            async for _ in changes:
                own.members[0].stop()

    async def work(own: Cluster) -> None:
        async with asyncio.timeout(DEADLINE), Etcd(Access(own.endpoints)) as etcd:
            await etcd.write([], [Put("/t/a", "1")])
            with pytest.raises(EtcdUnavailable):
                await watched(own, etcd)

    with Cluster() as own:
        asyncio.run(work(own))
