"""The program in the kernel decides like table.choose, for real connections. Needs CAP_BPF."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.steering import Group
from deployd.reuseport import maps
from deployd.reuseport.slots import Slot
from deployd.reuseport.table import ENTRIES, FALLBACKS, FEW, INSTANCES, MEMBERS, Table, choose
from tests.reuseport.sockets import (
    equal,
    ground,
    map_of,
    one_cpu,
    set_cursor,
    steering,
    stored,
    uncounted,
    weighted,
)

HOSTS = ["127.0.0.1", "::1", "::"]


@pytest.fixture(autouse=True)
def _on_one_cpu() -> Iterator[None]:
    with one_cpu():
        yield


ages = st.sampled_from([0.0, 0.0001, 0.004, 0.02, 0.12, 0.3, 0.9, 3, 7, 20, 1000]).map(lambda age: int(age * 1e9))


def slots(now: int) -> st.SearchStrategy[Slot]:
    """Return slots as the programs leave them, some of them with counts that are off."""
    times = ages.map(lambda age: max(0, now - age))  # the machine may have been booted a moment ago
    return st.builds(
        Slot,
        in_flight=st.integers(-2, 6) | st.integers(0, 10_000),
        open=st.integers(-2, 6) | st.integers(0, 100_000),
        progress=times,
        pending=st.integers(-2, 6),
        chosen_at=times,
        chosen=st.integers(0, 1000),
        typical=st.sampled_from([0, 10_000, 4_000_000, 200_000_000, 5_000_000_000]),
        counted=st.just(1),
        longest=st.sampled_from([0, 10_000, 4_000_000, 200_000_000, 5_000_000_000]),
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(1, INSTANCES - 2), st.integers(0, 63)), max_size=5),
            st.floats(0, 100),
        ),
        max_size=4,
    ),
    st.data(),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_the_kernel_chooses_as_choose_does(
    drawn: list[tuple[list[tuple[int, int]], float]], data: st.DataObject, cursor: int, least_busy: bool
) -> None:
    groups = [Group(tuple(members), weight) for members, weight in drawn]
    numbers = sorted({number for group in groups for number, _ in group.members})
    order = data.draw(st.permutations(numbers), label="order")
    listening = data.draw(st.sets(st.sampled_from(numbers)) if numbers else st.just(set()), label="listening")
    listening |= {INSTANCES - 1}  # one has to listen, or connections are refused
    table = Table.of(groups, [*order[: FALLBACKS - 1], INSTANCES - 1])
    found = data.draw(st.fixed_dictionaries(dict.fromkeys(numbers, slots(time.monotonic_ns()))), label="slots")
    with ground("127.0.0.1", listening) as place, steering() as app:
        app.set(table)
        with nullcontext() if least_busy else uncounted():
            assert app.sync(place.listeners()) == set()
        assert bool(app.in_turn) is not least_busy
        set_cursor(app, cursor)
        kernel = map_of(app, "slots", maps.SLOTS)
        for number, slot in found.items():
            kernel[number] = slot.value
        for number in range(5):
            before = time.monotonic_ns()
            seen = place.chosen()
            times = [*range(before, time.monotonic_ns(), 8192), time.monotonic_ns()]  # half a tick
            turn = (cursor + number) % 2**64
            assert seen in {choose(table, turn, listening, found, now, least_busy=least_busy) for now in times}
            found |= {one: Slot.parse(kernel[one]) for one in {*numbers, INSTANCES - 1}}
        kernel.close()


@pytest.mark.parametrize("count", [FEW, FEW + 1, MEMBERS])
def test_all_members_of_a_group_are_compared(count: int) -> None:
    numbers = range(1, count + 1)
    with ground("127.0.0.1", numbers) as place, steering() as app:
        app.set(weighted({1: 1}, []))
        app.sync(place.listeners())
        assert place.chosen() == 1
        app.set(equal(*numbers))
        assert app.outdated is (count > FEW)
        app.sync(place.listeners())
        assert not app.outdated
        assert sorted(place.chosen() for _ in numbers) == [*numbers]
        kept = stored(app)
        with steering(kept) as later:
            later.sync(place.listeners())
            # Connections without data are pending for a while, two of instance 1: others may come before it meanwhile.
            seen = set[int]()
            while len(seen) < count:
                seen.add(place.chosen())


def test_the_whole_order_is_tried() -> None:
    order = range(1, FALLBACKS + 1)
    with ground("127.0.0.1", [FALLBACKS, 900]) as place, steering() as app:
        app.set(weighted({800: 1}, order))
        app.sync(place.listeners())
        assert {place.chosen() for _ in range(20)} == {FALLBACKS}


def test_without_a_listener_in_the_order_the_kernel_selects_by_hash() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({800: 1}, [700]))
        app.sync(place.listeners())
        assert {place.chosen() for _ in range(100)} == {1, 2}
        assert app.counters() == {}


@pytest.mark.parametrize("host", HOSTS)
def test_every_kind_of_address_is_steered(host: str) -> None:
    with ground(host, [1, 2]) as place, steering() as app:
        app.set(weighted({2: 1}, [2, 1]))
        app.sync(place.listeners())
        for to in ["::1", "127.0.0.1"] if host == "::" else [host]:
            assert {place.chosen(to) for _ in range(20)} == {2}


def test_two_families_on_one_port_are_two_groups() -> None:
    with ground("0.0.0.0", [1, 2]) as four, ground("::", v6only=True) as six, steering() as app:
        six.port = four.port
        six.open(1, 2)
        app.set(weighted({2: 1}, []))
        both = {number: [*four.listeners_of(number), *six.listeners_of(number)] for number in (1, 2)}
        assert app.sync(both) == set()
        assert {four.chosen("127.0.0.1") for _ in range(20)} == {2}
        assert {six.chosen("::1") for _ in range(20)} == {2}
        assert len([name for name in app.fds if ".sockets-" in name]) == 2
        app.sync({number: four.listeners_of(number) for number in (1, 2)})
        assert len([name for name in app.fds if ".sockets-" in name]) == 1


def test_weights_are_exact() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 95, 2: 5}, [1]))
        app.sync(place.listeners())
        counts = Counter(place.chosen() for _ in range(ENTRIES))
        assert app.table.groups == (((1, 0),), ((2, 0),))
        assert counts == Counter(place + 1 for place in app.table.entries) == app.counters()


def test_queued_connections_of_a_closed_listener_migrate_by_the_table() -> None:
    with ground("127.0.0.1", [1, 2, 3]) as place, steering() as app:
        app.set(weighted({1: 1}, []))
        app.sync(place.listeners())
        for _ in range(50):
            place.connect()
        app.set(weighted({1: 1}, [3, 2]))
        place.close(1)
        assert place.waiting() == {2: 0, 3: 50}


@pytest.mark.skipif(os.cpu_count() == 1, reason="one processor does not choose while it changes the table")
def test_a_listener_without_a_weight_gets_no_connection_after_a_change() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.sync(place.listeners())
        stop, failures = threading.Event(), []

        def load() -> None:
            while not stop.is_set():
                try:
                    socket.create_connection(("127.0.0.1", place.port), 10).close()
                except OSError as error:
                    failures.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        for thread in threads:
            thread.start()
        try:
            for flip in range(300):
                kept, left = (1, 2) if flip % 2 else (2, 1)
                app.set(weighted({kept: 1}, [kept]))
                before = app.counters()
                while app.counters().get(kept, 0) < before.get(kept, 0) + 5:
                    place.waiting()
                after = app.counters()
                # One connection on another CPU may be between reading the old table and being counted.
                assert after.get(left, 0) - before.get(left, 0) <= (os.cpu_count() or 1) - 1
        finally:
            stop.set()
            for thread in threads:
                while thread.is_alive():  # its last connection may find the queue full
                    place.waiting()
                    thread.join(0.01)
        assert not failures


def test_a_listener_that_was_opened_again_takes_its_slot() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, [2]))
        app.sync(place.listeners())
        place.close(1)
        assert place.chosen() == 2
        place.open(1)
        assert place.chosen() == 2
        assert app.sync(place.listeners()) == set()
        assert place.chosen() == 1


def test_a_group_whose_listeners_were_all_replaced_is_steered_again() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, []))
        app.sync(place.listeners())
        place.close(1)
        place.close(2)
        place.open(1, 2)
        app.sync(place.listeners())
        assert {place.chosen() for _ in range(20)} == {1}


def test_a_listener_that_is_left_out_gets_no_connection() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, [2]))
        app.sync(place.listeners())
        app.sync({2: place.listeners()[2]})
        assert {place.chosen() for _ in range(20)} == {2}


def test_a_listener_that_was_closed_has_to_wait() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        listeners = place.listeners()
        place.close(1)
        assert app.sync(listeners) == {1}
        assert app.sync(place.listeners()) == set()


def test_no_duplicate_is_left_open() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.sync(place.listeners())
        inode = os.fstat(place.sockets[1].fileno()).st_ino
        place.close(1)
        assert inode not in place.all_listeners()
