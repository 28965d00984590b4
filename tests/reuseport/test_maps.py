"""Maps in the kernel, their layout, and the system calls below them. Needs CAP_BPF."""

from __future__ import annotations

import os
import select
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import SteeringError, steering_errors
from deployd.model.steering import RANKS, Group
from deployd.reuseport import maps, slots, syscalls
from deployd.reuseport.maps import Kind, Map, Shape
from deployd.reuseport.table import INSTANCES, Table

instances = st.integers(1, INSTANCES - 1)
SHAPES = [
    maps.SWITCH,
    maps.TABLES,
    maps.CURSORS,
    maps.SLOTS,
    maps.LISTENING,
    maps.CONNECTIONS,
    maps.PROBES,
    maps.SOCKETS,
]


members = st.lists(st.tuples(instances, st.integers(0, RANKS - 1)), max_size=100, unique_by=lambda item: item[0])


@given(st.lists(st.tuples(members, st.floats(0, 100)), max_size=70), st.lists(instances))
def test_a_table_is_read_back_as_it_was_written(
    groups: list[tuple[list[tuple[int, int]], float]], order: list[int]
) -> None:
    table = Table.of([Group(tuple(items), weight) for items, weight in groups], order)
    value = maps.packed(table)
    assert len(value) == maps.TABLES.value_size
    assert maps.unpacked(value) == table


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_all_entries_of_a_map_are_read(count: int) -> None:
    made = Map.create(maps.CONNECTIONS)
    try:
        for number in range(count):
            made[2**40 + number] = struct.pack("=QQ", number, 7)
        assert dict(made.items()) == {2**40 + number: struct.pack("=QQ", number, 7) for number in range(count)}
        assert made.discard(2**40) is bool(count)
        assert made.discard(2**40) is False
    finally:
        made.close()


def test_all_values_of_an_array_are_read() -> None:
    made = Map.create(maps.SLOTS)
    try:
        made[3] = b"x" * slots.SIZE
        assert dict(made.items()) == {number: bytes(slots.SIZE) for number in range(INSTANCES)} | {3: b"x" * slots.SIZE}
    finally:
        made.close()


@pytest.mark.parametrize(
    ("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0-127\n", 128), ("0-3,8-11\n", 8), ("0,2\n", 2)]
)
def test_possible_cpus_are_counted(text: str, count: int) -> None:
    assert maps.possible_cpus(text) == count


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_names_fit_into_the_kernel(shape: Shape) -> None:
    assert len(shape.name) <= 15


@pytest.mark.parametrize(
    "shape", [maps.SWITCH, maps.TABLES, maps.CURSORS, maps.SLOTS, maps.CONNECTIONS], ids=lambda shape: shape.name
)
def test_a_value_is_read_back_as_it_was_written(shape: Shape) -> None:
    made = Map.create(shape)
    try:
        copies = maps.possible_cpus() if shape.kind is Kind.PERCPU_ARRAY else 1
        assert made.get(0) == (b"" if shape.kind is Kind.HASH else bytes(shape.value_size * copies))
        value = bytes(number % 251 for number in range(shape.value_size)) * copies
        made[0] = value
        assert made[0] == value
        with pytest.raises(ValueError, match="are not a value of"):
            made[0] = b""
    finally:
        made.close()


def test_an_empty_slot_of_sockets_has_no_value() -> None:
    made = Map.create(maps.SOCKETS)
    try:
        with pytest.raises(KeyError):
            _ = made[7]
        assert made.get(7) == b""
        made.discard(7)
        with pytest.raises(OSError, match="Bad file descriptor"):
            made[7] = struct.pack("=Q", 2**31 - 1)
    finally:
        made.close()


def test_a_map_is_adopted_by_its_shape_only() -> None:
    made = Map.create(maps.SLOTS)
    try:
        adopted = Map.adopt(os.dup(made.fd), maps.SLOTS)
        assert adopted is not None
        adopted[0] = b"x" * maps.SLOTS.value_size
        assert made[0] == b"x" * maps.SLOTS.value_size
        adopted.close()
        other = os.dup(made.fd)
        assert Map.adopt(other, maps.TABLES) is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(other)
    finally:
        made.close()


def test_a_map_polls_as_broken() -> None:
    """So it is stored with FDPOLL=0: systemd removes descriptors that poll as broken from its store."""
    made = Map.create(maps.SWITCH)
    try:
        poll = select.poll()
        poll.register(made.fd, 0)
        assert poll.poll(0) == [(made.fd, select.POLLERR)]
    finally:
        made.close()


def test_an_unknown_machine_is_refused() -> None:
    assert syscalls.numbers("aarch64").bpf == 280
    with pytest.raises(SteeringError, match="no system call numbers are known for vax, only for x86_64 and aarch64"):
        syscalls.numbers("vax")


def test_errors_of_system_calls_become_sentences() -> None:
    with pytest.raises(SteeringError, match=r"^cannot borrow: Bad file descriptor$"), steering_errors("borrow"):
        syscalls.pidfd_getfd(-1, 0)
