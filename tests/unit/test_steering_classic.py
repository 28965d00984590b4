"""Classic BPF: the order of a group as the kernel has it, and programs that decide as ours in Python, for real
connections."""

from __future__ import annotations

import os
import socket
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deployd.errors import SteeringError
from deployd.steering import classic, order
from deployd.steering.classic import NOBODY, PATIENCE, Classic, attach, decide, detach, runs, text
from deployd.steering.order import OrderFile, closed, follow, opened
from deployd.steering.table import STRIDE, TICKETS, Table, choose
from tests.unit.steering_sockets import Ground, ground

shares = st.dictionaries(st.integers(1, 9), st.floats(0, 100), max_size=6)


def positions_of(place: Ground) -> tuple[int, ...]:
    """Who is at which position, asked of the kernel: a program for each."""
    found = []
    for index in range(len(place.sockets)):
        attach(next(iter(place.sockets.values())), text(((TICKETS, index),)))
        found.append(place.chosen())
    return tuple(found)


steps = st.lists(st.integers(1, 6), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_the_kernel_keeps_this_order(toggled: list[int]) -> None:
    """A number opens a listener, or closes the one there is."""
    now: order.Order = ()
    with ground("127.0.0.1") as place:
        for number in toggled:
            if number in place.sockets:
                place.close(number)
                now = closed(now, number)
            else:
                place.open(number)
                now = opened(now, number)
        assert positions_of(place) == now


@given(steps, st.integers(1, 14), st.booleans())
def test_what_is_known_of_changes_between_two_looks_is_true(toggled: list[int], looked: int, timed: bool) -> None:
    now: order.Order = ()
    seen: order.Order | None = ()
    spans: dict[int, order.Span] = {}
    there: dict[int, int] = {}
    new: set[int] = set()
    for moment, number in enumerate(toggled, start=1):
        if number in there:
            one = there.pop(number)
            assume(one not in new)  # it came and went unseen: that cannot be known
            now = closed(now, one)
        else:
            there[number] = moment * 10 + number  # nobody's cookie is used again
            now = opened(now, there[number])
            new.add(there[number])
            if timed:
                spans[there[number]] = (moment, moment + 0.5)
        if moment == looked:
            seen = follow(seen, now, spans)
            assert seen in (now, None)
            new.clear()
    assert follow(seen, now, spans) in (now, None)


def test_one_change_is_always_clear() -> None:
    assert follow((1, 2, 3, 4), {1, 2, 3, 4, 5}, {}) == (1, 2, 3, 4, 5)
    assert follow((1, 2, 3, 4), {1, 3, 4}, {}) == (1, 4, 3)
    assert follow((1, 2, 3), {1, 2, 3}, {}) == (1, 2, 3)


def test_two_are_if_it_makes_no_difference_or_times_are_known() -> None:
    assert follow((), {5, 6}, {}) is None
    assert follow((), {5, 6, 7}, {6: (1, 2), 5: (3, 4), 7: (5, 5)}) == (6, 5, 7)
    assert follow((), {5, 6}, {6: (1, 3), 5: (2, 4)}) is None
    assert follow((1, 2, 3, 4), {2, 3}, {}) == (3, 2)
    assert follow((1, 2, 3, 4), {3, 4}, {}) is None
    assert follow((1, 2, 3), {1, 3, 4}, {}) is None
    assert follow((1, 2, 3), {1, 2, 4}, {}) == (1, 2, 4)


def test_nobody_is_mistaken_alone() -> None:
    assert follow(None, {7}, {}) == (7,)
    assert follow(None, {}, {}) == ()
    assert follow(None, {7, 8}, {}) is None
    assert follow(tuple(range(20)), {19}, {}) == (19,)
    assert follow(tuple(range(20)), range(20, 40), {}) is None


@given(shares, st.sets(st.integers(1, 9)), st.integers(0, 2**32 - 1))
def test_a_ticket_leads_where_the_table_says(given_shares: dict[int, float], listening: set[int], random: int) -> None:
    table = Table.of(given_shares, list(given_shares))
    places = {slot: place for place, slot in enumerate(sorted(listening))}
    # The cursor that picks this ticket.
    cursor = random * pow(STRIDE, -1, TICKETS) % TICKETS
    chosen = choose(table, cursor, listening)
    assert decide(runs(table, places), random) == (NOBODY if chosen is None else places[chosen])


def test_the_largest_app_fits() -> None:
    found = runs(Table.of(dict.fromkeys(range(1, 501), 1.0), []), {number: number - 1 for number in range(1, 501)})
    assert len(found) == 500
    code = text(found)
    assert len(code) // 8 <= 4096
    with ground("127.0.0.1", [1, 2]) as place:
        attach(place.sockets[1], code)
        place.chosen()


def test_the_kernel_deals_as_we_do(tmp_path: Path) -> None:
    with ground("127.0.0.1", [1, 2, 3]) as place:
        app = Classic(tmp_path / "order", os.getpid())
        for number in place.sockets:
            app.note(number, (number, number))
        app.set(Table.of({1: 10, 3: 90}, [3]))
        assert app.sync(place.listeners()) == set()
        seen = Counter(place.chosen() for _ in range(1500))
        assert seen.keys() == {1, 3}
        assert 90 <= seen[1] <= 220  # 150 are due; five standard deviations
        for number in (1, 2, 3, 1):
            app.set(Table.of({number: 1}, [number]))
            assert {place.chosen() for _ in range(50)} == {number}
        assert app.reason == ""
        assert not app.fds
        assert not app.counters()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_it_follows_who_comes_and_goes(host: str, tmp_path: Path) -> None:
    with ground(host) as place:
        app = Classic(tmp_path / "order", os.getpid())

        def all_are_found() -> None:
            for number in place.sockets:
                app.set(Table.of({number: 1}, []))
                assert {place.chosen() for _ in range(5)} == {number}

        for number in (4, 2, 7, 1):
            place.open(number)
            assert app.sync(place.listeners()) == set()
            all_are_found()
        for number in (4, 7):
            place.close(number)
            app.sync(place.listeners())
            all_are_found()
        place.open(4)
        place.close(2)
        place.close(4)
        app.sync(place.listeners())
        all_are_found()


def test_who_parts_is_closed_at_the_end(tmp_path: Path) -> None:
    with ground("127.0.0.1") as place:
        app = Classic(tmp_path / "order", os.getpid())
        for number in (1, 2, 3):
            place.open(number)
            app.sync(place.listeners())
        app.set(Table.of({3: 1}, [3]))
        with app.parting(1):
            parted = place.sockets.pop(1)
            parted.close()
            place.open(4)
            assert {place.chosen() for _ in range(20)} == {3}
            assert len(place.told()) == 4
        assert len(place.told()) == 3
        assert {place.chosen() for _ in range(20)} == {3}
        app.sync(place.listeners())
        for number in (2, 3, 4):
            app.set(Table.of({number: 1}, []))
            assert {place.chosen() for _ in range(5)} == {number}


def test_nobody_else_is_chosen_while_one_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one moves. Without a program for before and after, the kernel would hash for a moment."""
    with ground("127.0.0.1") as place:
        app = Classic(tmp_path / "order", os.getpid())
        for number in range(1, 6):
            place.open(number)
            app.sync(place.listeners())
        app.set(Table.of({4: 1, 5: 1}, [5, 4]))
        seen: list[set[int]] = []

        def watched(listener: socket.socket, code: bytes) -> None:
            # Who is chosen by the program that was there until now, and by this one.
            seen.append({place.chosen() for _ in range(20)})
            attach(listener, code)
            seen.append({place.chosen() for _ in range(20)})

        monkeypatch.setattr(classic, "attach", watched)
        with app.parting(2):
            place.close(2)
        assert seen == [{4, 5}, {4}, {4}, {4, 5}]


def test_who_does_not_part_after_all_keeps_its_place(tmp_path: Path) -> None:
    with ground("127.0.0.1") as place:
        app = Classic(tmp_path / "order", os.getpid())
        for number in (1, 2, 3):
            place.open(number)
            app.sync(place.listeners())
        with app.parting(1):
            pass
        assert app.sync(place.listeners()) == set()
        for number in (1, 2, 3):
            app.set(Table.of({number: 1}, []))
            assert {place.chosen() for _ in range(5)} == {number}


def test_the_last_one_parts(tmp_path: Path) -> None:
    with ground("127.0.0.1", [1]) as place:
        app = Classic(tmp_path / "order", os.getpid())
        app.sync(place.listeners())
        with app.parting(1):
            place.close(1)
        app.sync({})
        assert place.told() == {}


def test_the_next_daemon_knows_the_order(tmp_path: Path) -> None:
    file = tmp_path / "run" / "order"
    with ground("127.0.0.1") as place:
        app = Classic(file, os.getpid())
        for number in (1, 2, 3):
            place.open(number)
            app.sync(place.listeners())
        place.close(1)  # while nobody looks
        app = Classic(file, os.getpid())
        app.sync(place.listeners())
        assert app.reason == ""
        for number in (2, 3):
            app.set(Table.of({number: 1}, []))
            assert {place.chosen() for _ in range(5)} == {number}


@pytest.mark.parametrize("spoiled", ["null", "{", '{"a": 1}', "other"])
def test_an_order_that_is_not_known_is_hashed(spoiled: str, tmp_path: Path) -> None:
    file = tmp_path / "order"
    with ground("127.0.0.1", [1, 2, 3]) as place:
        attach(place.sockets[1], text(((TICKETS, 0),)))
        if spoiled == "other":
            OrderFile(file).spoil()
        else:
            file.write_text(spoiled)
        if spoiled == '{"a": 1}':
            OrderFile(file).write({f"sockets-4-7f000001-{place.port}": (1, 2, 3)})
        app = Classic(file, os.getpid())
        app.set(Table.of({1: 1}, []))
        app.sync(place.listeners())
        assert "not known" in app.reason
        assert {place.chosen() for _ in range(100)} == {1, 2, 3}
        place.close(1)
        place.close(2)
        app.sync(place.listeners())
        assert app.reason == ""
        place.open(5)
        app.sync(place.listeners())
        app.set(Table.of({5: 1}, []))
        assert {place.chosen() for _ in range(5)} == {5}


def test_strangers_are_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    now = [0.0]
    with ground("127.0.0.1", [1]) as place:
        app = Classic(tmp_path / "order", os.getpid(), clock=lambda: now[0])
        app.set(Table.of({1: 1}, []))
        app.sync(place.listeners())
        place.open(2, 3)
        known = {1: place.listeners_of(1), 2: place.listeners_of(2)}
        assert app.sync(known) == {2}
        assert {place.chosen() for _ in range(20)} == {1}
        now[0] += PATIENCE
        assert app.sync(known) == set()
        assert app.reason


def test_a_program_is_replaced_and_detached() -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        for index, number in enumerate((1, 2)):
            attach(place.sockets[2], text(((TICKETS, index),)))
            assert {place.chosen() for _ in range(20)} == {number}
        detach(place.sockets[1])
        detach(place.sockets[1])
        assert {place.chosen() for _ in range(100)} == {1, 2}


def test_what_cannot_be_borrowed_is_told(tmp_path: Path) -> None:
    with ground("127.0.0.1", [1]) as place:
        app = Classic(tmp_path / "order", os.getppid())
        with pytest.raises(SteeringError, match="can be borrowed"):
            app.sync(place.listeners())


def test_the_file_goes_with_the_app(tmp_path: Path) -> None:
    file = OrderFile(tmp_path / "order")
    file.write({"a": (1, 2), "b": None})
    assert OrderFile(tmp_path / "order").read() == {"a": (1, 2), "b": None}
    file.remove()
    file.remove()
    assert file.read() == {}
    assert not list(tmp_path.iterdir())
