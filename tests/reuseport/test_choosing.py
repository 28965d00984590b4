"""The program in the kernel gives each connection to the least busy instance. Needs CAP_BPF."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from deployd.model.steering import Group
from deployd.reuseport.table import ENTRIES, Table
from tests.reuseport.shop import ANSWER, Shop
from tests.reuseport.sockets import equal, ground, one_cpu, steering, uncounted, weighted

LATE = 0.03
"""Seconds without an answer after which an instance without a typical time counts as late."""


@pytest.fixture(autouse=True)
def _on_one_cpu() -> Iterator[None]:
    with one_cpu():
        yield


def test_a_busy_instance_gets_nothing_that_an_idle_one_could_take(shop: Shop) -> None:
    busy = shop.request()
    shop.expect({1: (1, 1)})
    for number in range(20):
        client = shop.request()
        taker = 2 + number % 2
        with shop.serve(taker):
            client.recv(100)
        client.close()
        shop.expect({1: (1, 1)})
    busy.close()


def test_a_hung_instance_gets_nothing_after_its_first_request(shop: Shop) -> None:
    """The others are event loops with more in flight than being late counts for."""
    crowd: dict[int, list[tuple[socket.socket, socket.socket]]] = {1: [], 2: []}
    for number in [1, 2] * 12:
        shop.app.set(weighted({number: 1}, []))
        client = shop.request()
        crowd[number].append((client, shop.accept(number)))
    shop.expect({1: (12, 12), 2: (12, 12)})
    shop.app.set(equal(1, 2, 3, order=[1, 2]))
    hung = shop.request()
    shop.expect({1: (12, 12), 2: (12, 12), 3: (1, 1)})
    threading.Event().wait(LATE)
    for _ in range(40):
        for several in crowd.values():
            if len(several) == 12:
                client, accepted = several.pop(0)
                accepted.recv(100)
                accepted.sendall(ANSWER)
                client.recv(100)
                accepted.close()
                client.close()
        shop.expect({3: (1, 1), **{number: (len(several), len(several)) for number, several in crowd.items()}})
        client, got = shop.taken()
        assert got in crowd, "the hung one got a second connection"
        crowd[got].append((client, shop.accept(got)))
    hung.close()


@pytest.mark.parametrize("least_busy", [True, False])
def test_the_newest_generation_goes_first_among_equally_busy_instances(shop: Shop, least_busy: bool) -> None:
    shop.app.set(Table.of([Group(((1, 1), (2, 1), (3, 0)), 1)], []))
    if not least_busy:
        with uncounted():
            shop.place.close(1)
            shop.place.open(1)
            shop.app.sync(shop.place.listeners())
    seen: Counter[int] = Counter()
    for _ in range(9):
        client, number = shop.taken()
        seen[number] += 1
        with shop.serve(number):
            client.recv(100)
        client.close()
    assert seen == ({3: 9} if least_busy else {1: 3, 2: 3, 3: 3})


def test_weights_of_groups_are_exact_however_busy_a_member_is(shop: Shop) -> None:
    shop.app.set(Table.of([Group(((3, 0),), 5), Group(((1, 0), (2, 0)), 95)], [1]))
    busy = [shop.request() for _ in range(3)]
    before = shop.app.counters()
    for _ in range(ENTRIES):
        shop.place.connect().close()
        shop.place.waiting()
    got = {number: count - before.get(number, 0) for number, count in shop.app.counters().items()}
    expected = Counter(shop.app.table.entries)
    assert (got[3], got[1] + got[2]) == (expected[0], expected[1])
    for client in busy:
        client.close()


def test_a_member_that_does_not_listen_is_not_chosen_again_at_once(shop: Shop) -> None:
    shop.app.set(equal(1, 2, 3, order=[3]))
    assert shop.place.chosen() == 1
    shop.place.close(1)
    seen = [shop.place.chosen() for _ in range(9)]
    assert set(seen) == {2, 3}, "not always the first in order"


def test_members_that_listen_at_another_address_only_are_left_out_here(shop: Shop) -> None:
    with ground("127.0.0.1", [4]) as other:
        both = {**shop.place.listeners(), **other.listeners()}
        shop.app.set(equal(1, 2, 3, 4, order=[1]))
        assert shop.app.sync(both) == set()
        assert {shop.place.chosen() for _ in range(30)} == {1, 2, 3}
        assert {other.chosen() for _ in range(5)} == {4}


def test_a_listener_that_is_not_counted_makes_all_take_turns(shop: Shop) -> None:
    shop.place.open(4)
    shop.app.set(equal(1, 2, 3, 4, order=[1]))
    with uncounted():
        assert shop.app.sync(shop.place.listeners()) == set()
        why = "the kernel does not count the connections of instance 4: Operation not permitted"
        assert shop.app.in_turn == why
        with steering({name: os.dup(fd) for name, fd in shop.app.fds.items()}) as app:
            app.sync(shop.place.listeners())
            assert app.in_turn == why, "the next daemon finds out"
    busy = shop.request()
    with shop.accept(1):
        assert Counter(shop.place.chosen() for _ in range(8)) == {1: 2, 2: 2, 3: 2, 4: 2}
    busy.close()
