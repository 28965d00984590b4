"""The maps outlive the daemon, and the next one takes them over. Needs CAP_BPF."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from deployd.reuseport.steering import Steering, app_of
from deployd.reuseport.table import Table
from tests.reuseport.sockets import (
    Ground,
    ground,
    one_cpu,
    open_files,
    steering,
    stored,
    weighted,
)


@pytest.fixture(autouse=True)
def _on_one_cpu() -> Iterator[None]:
    with one_cpu():
        yield


def settle(app: Steering, place: Ground) -> None:
    """Wait until all listeners are in the array: the kernel frees old maps later, without a signal."""
    for _ in range(2000):
        if not app.sync(place.listeners()):
            return
        threading.Event().wait(0.005)
    pytest.fail("the old maps are never freed")


def test_the_program_keeps_steering_when_the_daemon_dies() -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        with steering() as app:
            app.set(weighted({2: 1}, []))
            app.sync(place.listeners())
        assert {place.chosen() for _ in range(20)} == {2}


def test_the_next_daemon_takes_over_the_maps() -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        with steering() as app:
            app.set(weighted({2: 1}, [1]))
            app.sync(place.listeners())
            place.chosen()
            kept = stored(app)
        with steering(kept) as app:
            assert app.table == weighted({2: 1}, [1])
            assert app.fds.keys() == kept.keys()
            assert place.chosen() == 2
            assert app.sync(place.listeners()) == set()
            assert app.counters() == {2: 2}
            app.set(weighted({1: 1}, []))
            assert place.chosen() == 1
            place.open(3)
            app.set(weighted({3: 1}, []))
            assert app.sync(place.listeners()) == set()
            assert place.chosen() == 3


def test_the_next_daemon_removes_listeners_that_are_left_out() -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        with steering() as app:
            app.set(weighted({1: 1}, [2]))
            app.sync(place.listeners())
            kept = stored(app)
        with steering(kept) as app:
            app.sync({2: place.listeners()[2]})
            assert place.chosen() == 2


def test_without_the_maps_the_next_daemon_starts_with_an_empty_table() -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        with steering() as app:
            app.set(weighted({2: 1}, [1]))
            app.sync(place.listeners())
        with steering() as app:
            assert app.table == Table()
            app.set(weighted({1: 1}, []))
            settle(app, place)
            assert {place.chosen() for _ in range(20)} == {1}
            assert app.counters() == {1: 20}


@pytest.mark.parametrize("lost", ["tables", "switch", "slots", "connections"])
def test_incomplete_maps_are_not_used(lost: str) -> None:
    with ground("127.0.0.1", [1, 2]) as place:
        with steering() as app:
            app.set(weighted({2: 1}, [1]))
            app.sync(place.listeners())
            kept = stored(app)
        os.close(kept.pop(next(name for name in kept if name.startswith(f"shop.{lost}-"))))
        with steering(kept.copy()) as app:
            assert app.table == Table()
            # Only the array of listeners is still used, and so only its name is the same.
            assert [name for name in app.fds if name in kept] == [name for name in kept if ".sockets-" in name]
            app.set(weighted({1: 1}, []))
            settle(app, place)
            assert place.chosen() == 1


def test_descriptors_that_are_not_maps_are_closed() -> None:
    names = [
        "shop.tables-7",
        "shop.tables-x",
        "shop.sockets-4-7f000001-80-9",
        "shop.sockets-4-00-80-9",
        "shop.x",
        "shop.",
    ]
    before = open_files()
    wrong = {name: os.open("/dev/null", os.O_RDONLY) for name in names}
    with steering(wrong) as app:
        assert app.table == Table()
        assert [name.rpartition("-")[0] for name in app.fds] == [
            f"shop.{label}" for label in ("switch", "tables", "cursors", "slots", "connections", "probes")
        ]
    assert open_files() == before


def test_of_two_stored_maps_the_newer_one_is_used() -> None:
    with steering() as older, steering() as newer:
        older.set(weighted({1: 1}, []))
        newer.set(weighted({2: 1}, []))
        kept = {**stored(newer), **stored(older)}
        with steering(kept) as app:
            assert app.table == weighted({2: 1}, [])
            assert app.fds.keys() == newer.fds.keys()


def test_the_name_of_a_stored_descriptor_contains_its_app() -> None:
    with ground("::", [1]) as place, steering() as app:
        app.sync(place.listeners())
        assert {app_of(name) for name in app.fds} == {"shop"}
        assert not [name for name in app.fds if ":" in name]
        assert len(app.fds) == 7
    assert app_of("my.shop.tables-12") == "my.shop"
