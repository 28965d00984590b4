"""The filter in the kernel counts what instances have to do. Needs CAP_BPF."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.steering import Load
from deployd.reuseport import maps
from deployd.reuseport.recount import Entry, Recount, suspects
from deployd.reuseport.slots import SECOND, Slot
from deployd.reuseport.steering import Steering
from deployd.sockdiag.inet_diag import Diag
from tests.reuseport import queueing
from tests.reuseport.shop import ANSWER, REQUEST, Shop
from tests.reuseport.sockets import equal, ground, map_of, one_cpu, steering, weighted

SO_LOCK_FILTER = 44


@pytest.fixture(autouse=True)
def _on_one_cpu() -> Iterator[None]:
    with one_cpu():
        yield


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def entries(app: Steering) -> int:
    connections = map_of(app, "connections", maps.CONNECTIONS)
    try:
        return len(list(connections.items()))
    finally:
        connections.close()


def test_a_request_is_in_flight_until_its_answer_is_acknowledged(shop: Shop) -> None:
    with shop.request() as client:
        shop.expect({1: (1, 1)})
        with shop.serve(1) as accepted:
            assert client.recv(100) == ANSWER
            shop.expect({1: (0, 1)})
            client.sendall(REQUEST)
            shop.expect({1: (1, 1)})
            accepted.recv(100)
            accepted.sendall(ANSWER)
            assert client.recv(100) == ANSWER
            shop.expect({1: (0, 1)})
        shop.expect({})
    assert entries(shop.app) == 0


@pytest.mark.parametrize("accepted", [True, False])
def test_clients_that_reset_their_connections_are_not_counted_any_more(shop: Shop, accepted: bool) -> None:
    found = [shop.taken() for _ in range(6)]
    counts = Counter(number for _, number in found)
    assert counts.keys() == {1, 2, 3}
    shop.expect({number: (count, count) for number, count in counts.items()})
    if accepted:
        served = [shop.serve(number) for number in (1, 2, 3)]
        shop.expect({number: (count - 1, count) for number, count in counts.items()})
    for client, _ in found:
        reset(client)
    shop.expect({})
    assert entries(shop.app) == 0
    for one in served if accepted else []:
        one.close()


def test_requests_of_clients_that_are_gone_count_until_an_instance_takes_them_from_its_queue(shop: Shop) -> None:
    """As when a process is killed and its listener is kept: the next one finds them there."""
    shop.app.set(weighted({1: 1}, []))
    for _ in range(3):
        shop.request().close()
    shop.expect({1: (3, 3)})
    for _ in range(3):
        shop.serve(1).close()
    shop.app.recount(lambda: Diag().cookies([shop.place.port]))
    shop.expect({})
    assert entries(shop.app) == 0


def test_an_instance_that_closes_with_unread_data_keeps_nothing(shop: Shop) -> None:
    """The kernel resets such a connection, and no further segment of it arrives: only the recount finds it."""
    client = shop.request(size=100_000)
    shop.expect({1: (1, 1)})
    shop.accept(1).close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert shop.app.recount(lambda: Diag().cookies([shop.place.port])) == 1
    shop.expect({})
    assert entries(shop.app) == 0


def test_a_client_that_closes_with_unread_data_is_forgotten(shop: Shop) -> None:
    client = shop.request(size=100_000)
    with shop.accept(1) as accepted:
        accepted.sendall(ANSWER)
        client.close()
        shop.expect({})
    assert entries(shop.app) == 0


def test_silent_connections_leave_nothing(shop: Shop) -> None:
    clients = [shop.place.connect() for _ in range(30)]
    assert sum(load.pending for load in shop.app.loads().values()) > 0
    for client in clients:
        client.close()
    shop.expect({})
    assert {load.pending for load in shop.app.loads().values()} == {0}
    assert entries(shop.app) == 0


def test_connections_that_are_kept_open_count_less_than_requests(shop: Shop) -> None:
    found = [shop.taken() for _ in range(30)]
    clients = [client for client, _ in found]
    accepted = [shop.serve(number) for _, number in found]
    for client in clients:
        client.recv(100)
    shop.expect({number: (0, count) for number, count in Counter(number for _, number in found).items()})
    for client in clients[:6]:
        client.close()
    for one in accepted:
        one.close()
    for client in clients[6:]:
        client.close()
    shop.expect({})
    assert entries(shop.app) == 0


def test_a_client_that_closes_first_is_open_until_the_instance_has_closed(shop: Shop) -> None:
    client = shop.request()
    accepted = shop.serve(1)
    client.shutdown(socket.SHUT_WR)
    shop.expect({1: (0, 1)})
    accepted.close()
    client.close()
    shop.expect({})


def test_connections_that_migrate_take_their_counts_along(shop: Shop) -> None:
    shop.app.set(weighted({1: 1}, []))
    clients = [shop.request() for _ in range(8)]
    shop.expect({1: (8, 8)})
    shop.app.set(equal(2, 3, order=[2, 3]))
    shop.place.close(1)
    shop.expect({2: (4, 4), 3: (4, 4)})
    for client in clients:
        client.sendall(REQUEST)
    shop.expect({2: (4, 4), 3: (4, 4)})
    for number in [2, 3] * 4:
        shop.serve(number).close()
    shop.expect({})
    assert entries(shop.app) == 0


def test_connections_that_migrate_before_their_first_request_are_counted_for_the_new_instance(shop: Shop) -> None:
    """Their filter is that of the old one."""
    shop.app.set(weighted({1: 1}, []))
    clients = [shop.place.connect() for _ in range(8)]
    shop.app.set(equal(2, 3, order=[2, 3]))
    shop.place.close(1)
    shop.expect({2: (0, 4), 3: (0, 4)})
    for client in clients:
        client.sendall(REQUEST)
    shop.expect({2: (4, 4), 3: (4, 4)})
    for number in [2, 3] * 4:
        shop.serve(number).close()
    shop.expect({})
    assert entries(shop.app) == 0


def test_the_kernel_counts_without_the_daemon_and_the_next_one_reads_the_counts() -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        with steering() as app:
            app.set(equal(1, 2, order=[1, 2]))
            app.sync(place.listeners())
            first = Shop(place, app).request()
            kept = {name: os.dup(fd) for name, fd in app.fds.items()}
        busy = [place.connect() for _ in range(4)]
        for client in busy:
            client.sendall(REQUEST)
        with steering(kept) as app:
            assert app.sync(place.listeners()) == set()
            shop = Shop(place, app)
            assert sum(in_flight for in_flight, _ in shop.loads().values()) == 5
            busy.append(shop.request())
            assert sum(in_flight for in_flight, _ in shop.loads().values()) == 6
            for client in (first, *busy):
                reset(client)
            shop.expect({})


def test_a_new_listener_starts_with_nothing_but_its_number_of_connections(shop: Shop) -> None:
    shop.app.set(weighted({1: 1}, []))
    client = shop.request()
    accepted = shop.accept(1)
    shop.expect({1: (1, 1)})
    shop.place.close(1)
    shop.place.open(1)
    shop.app.sync(shop.place.listeners())
    shop.expect({})
    assert shop.app.counters() == {1: 1}
    assert shop.request()
    shop.expect({1: (1, 1)})
    client.sendall(REQUEST)  # the process still has it
    shop.expect({1: (2, 2)})
    accepted.close()
    client.close()


def test_a_recount_leaves_live_connections_alone(shop: Shop) -> None:
    clients = [shop.request() for _ in range(3)]
    slots = map_of(shop.app, "slots", maps.SLOTS)
    slots[1] = Slot(in_flight=7, open=9, chosen=1, counted=1).value
    slots.close()
    assert shop.app.recount(lambda: Diag().cookies([shop.place.port])) == 0
    shop.expect({1: (1, 1), 2: (1, 1), 3: (1, 1)})
    assert shop.app.counters() == {1: 1, 2: 1, 3: 1}
    for client in clients:
        client.close()


counts = st.dictionaries(st.integers(1, 50), st.builds(Entry, st.integers(1, 3), st.booleans()))


@given(counts, st.sets(st.integers(1, 50)), st.builds(Slot, st.integers(-5, 50), st.integers(-5, 50)), st.booleans())
def test_what_is_removed_is_subtracted_and_a_quiet_slot_is_made_exact(
    found: dict[int, Entry], live: set[int], slot: Slot, quiet: bool
) -> None:
    stale = list(suspects(found, live))
    assert set(stale) == found.keys() - live
    left = [entry for cookie, entry in found.items() if cookie in live and entry.instance == 1]
    gone = [entry for cookie, entry in found.items() if cookie not in live and entry.instance == 1]
    before = slot if quiet else Slot(chosen=1)
    corrected = Recount(found, stale).corrected(1, before, slot)
    if quiet:
        assert (corrected.open, corrected.in_flight) == (len(left), sum(entry.in_flight for entry in left))
    else:
        assert corrected.open == slot.open - len(gone)
        assert corrected.in_flight == slot.in_flight - sum(entry.in_flight for entry in gone)


def test_a_load_without_counts_is_idle() -> None:
    assert not Load().hung(time.monotonic())


def answered(shop: Shop, after: float) -> Slot:
    """Return the slot of instance 1 when it has answered a request after so many seconds. Check that the simulation
    would have the same."""
    client = shop.request()
    shop.expect({1: (1, 1)})
    threading.Event().wait(after)
    with closing(map_of(shop.app, "slots", maps.SLOTS)) as slots:
        before = Slot.parse(slots[1])
        with shop.serve(1), client:
            client.recv(100)
        shop.expect({})
        found = Slot.parse(slots[1])
    simulated = queueing.answered(before, found.progress)
    assert (found.typical, found.longest) == (simulated.typical, simulated.longest)
    return found


def test_what_an_answer_takes_is_learned_in_a_few_of_them(shop: Shop) -> None:
    """Until then the instance seems late with each request, and the others get what it could take."""
    shop.app.set(weighted({1: 1}, []))
    assert answered(shop, 0.05).typical >= 0.05 * SECOND, "the first one is typical"
    for _ in range(20):
        quick = answered(shop, 0).typical
    for _ in range(10):
        slow = answered(shop, 16 * quick / SECOND).typical
    assert slow > 4 * quick, "steps of an eighth would make it 3.2 times as long"


def test_the_longest_time_without_an_answer_is_kept_for_a_while(shop: Shop) -> None:
    shop.app.set(weighted({1: 1}, []))
    before = answered(shop, 0.1).longest
    assert before >= 0.1 * SECOND
    for _ in range(4):
        now = answered(shop, 0).longest
        assert now == before - before // 128
        before = now
