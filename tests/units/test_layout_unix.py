"""The unit files of a steered app with UNIX addresses: each generation has one socket, and its instances keep it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployd.model.app import App, Listen, ListenKind, Routing
from deployd.model.pace import Amount, Pace
from tests.units.disk import NEW, Disk, app

UNIX = Listen(ListenKind.UNIX, "/run/web.sock")
AT_ONCE = Pace(max_surge=Amount(0), max_unavailable=Amount(2))


def steered(*listen: Listen, **settings: object) -> App:
    return replace(app(), listen=listen, routing=Routing.STEERED, **settings)  # type: ignore[arg-type]


@pytest.fixture
def unix_disk() -> Disk:
    """Generation 1 of a steered app runs on a UNIX address; 2 is another process, 3 the same as 1."""
    disk = Disk({number: steered(UNIX) for number in range(1, 5)})
    disk.install(disk.layout(1))
    disk.pins, disk.generation_sockets = {1: 1, 2: 1}, {1: 1}
    return disk


def sockets_of(disk: Disk, number: int) -> str:
    """Return the sockets that an instance is passed when systemd starts it."""
    text = disk.own.get(number, disk.installed["web@.service"])
    return next(line for line in text.splitlines() if line.startswith("Sockets="))


def test_each_generation_has_a_unix_socket_of_its_own(unix_disk: Disk) -> None:
    before = dict(unix_disk.installed)
    assert before.keys() == {"web:unix@1.socket", "web:start@.service", "web.service", "web@.service"}
    assert unix_disk.layout(1).files == unix_disk.layout(1).units, "nothing is to be done"
    wanted = unix_disk.layout(2)
    assert wanted.avoid == {1, 2}
    unix_disk.install(wanted)
    assert [sockets_of(unix_disk, number) for number in (1, 2, 3)] == [
        "Sockets=web:unix@1.socket",
        "Sockets=web:unix@1.socket",
        "Sockets=web:unix@2.socket",
    ]
    assert unix_disk.installed["web:unix@1.socket"] == before["web:unix@1.socket"]
    unix_disk.pins, unix_disk.generation_sockets = {3: 2, 4: 2}, {1: 1, 2: 2}
    wanted = unix_disk.layout(2)
    assert wanted.alone == ()
    assert sorted(wanted.stale) == ["web:unix@1.socket", "web@1.service", "web@2.service"]


@pytest.mark.parametrize("writes", range(6))
def test_killed_between_two_files_old_instances_keep_their_unix_socket(unix_disk: Disk, writes: int) -> None:
    unix_disk.install(unix_disk.layout(2), writes)
    assert sockets_of(unix_disk, 1) == "Sockets=web:unix@1.socket"
    unix_disk.install(unix_disk.layout(2))
    assert sockets_of(unix_disk, 1) == "Sockets=web:unix@1.socket"
    assert sockets_of(unix_disk, 3) == "Sockets=web:unix@2.socket"


def test_a_generation_that_adopts_instances_takes_over_their_unix_socket(unix_disk: Disk) -> None:
    wanted = unix_disk.layout(3, 1)
    assert (wanted.avoid, wanted.alone, wanted.stale) == (frozenset(), (), ())
    unix_disk.pins, unix_disk.generation_sockets = {1: 3, 2: 3}, {3: 1}
    assert unix_disk.layout(4, 1, 3).files == wanted.files
    restart = unix_disk.layout(4)
    assert restart.avoid == {1, 2}
    assert "Sockets=web:unix@4.socket" in restart.unit("web@.service").text


def test_standby_keeps_its_unix_socket_and_a_rollback_returns_to_it(unix_disk: Disk) -> None:
    unix_disk.install(unix_disk.layout(2))
    unix_disk.pins, unix_disk.generation_sockets = {1: 1, 2: 1, 3: 2, 4: 2}, {1: 1, 2: 2}  # 1 and 2 are frozen
    unix_disk.install(unix_disk.layout(2))
    assert sockets_of(unix_disk, 1) == "Sockets=web:unix@1.socket"
    back = unix_disk.layout(3, 1)
    assert back.avoid == {3, 4}
    unix_disk.install(back)
    assert sockets_of(unix_disk, 1) == "Sockets=web:unix@1.socket"
    assert sockets_of(unix_disk, 3) == "Sockets=web:unix@2.socket"


def test_instances_of_the_same_process_that_accept_from_another_socket_are_replaced(unix_disk: Disk) -> None:
    """A restart that is superseded left both: an address leads to one of the sockets only."""
    unix_disk.install(unix_disk.layout(2))
    unix_disk.pins, unix_disk.generation_sockets = {1: 1, 3: 2}, {1: 1, 2: 2}
    wanted = unix_disk.layout(3, 1, 2)
    assert wanted.avoid == {1}
    assert "Sockets=web:unix@2.socket" in wanted.unit("web@.service").text


def test_tcp_addresses_may_come_and_go_alongside_unix_ones(unix_disk: Disk) -> None:
    tcp = Listen(ListenKind.TCP, NEW)
    unix_disk.generations[2] = steered(UNIX, tcp)
    unix_disk.generations[3] = steered(UNIX)
    unix_disk.install(unix_disk.layout(2))
    assert sockets_of(unix_disk, 1) == "Sockets=web:unix@1.socket"
    assert sockets_of(unix_disk, 3) == "Sockets=web@%i.socket web:unix@2.socket"
    unix_disk.pins, unix_disk.generation_sockets = {3: 2, 4: 2}, {1: 1, 2: 2}
    unix_disk.install(unix_disk.layout(2))
    unix_disk.install(unix_disk.layout(3))
    assert unix_disk.own_sockets.keys() == {3, 4}
    assert "web@.socket" not in unix_disk.installed
    unix_disk.install(unix_disk.layout(3))
    assert unix_disk.own_sockets.keys() == {3, 4}
    unix_disk.pins, unix_disk.generation_sockets = {1: 3, 2: 3}, {3: 3}
    unix_disk.install(unix_disk.layout(3))
    assert not unix_disk.own_sockets


@pytest.mark.parametrize(
    ("settings", "socket"),
    [
        ({"pace": AT_ONCE}, 1),
        ({"pace": Pace(max_surge=Amount(1), max_unavailable=Amount(2))}, 1),
        ({"pace": Pace(max_surge=Amount(0), max_unavailable=Amount(1))}, 2),
        ({"pace": AT_ONCE, "socket": (("Backlog", ("9",)),)}, 2),
        ({"pace": AT_ONCE, "listen": (Listen(ListenKind.UNIX, "/run/other.sock"),)}, 2),
    ],
    ids=["all-at-once", "with-surge", "one-by-one", "other-settings", "other-address"],
)
def test_generations_share_a_unix_socket_if_none_may_serve_in_between(
    unix_disk: Disk, settings: dict[str, Any], socket: int
) -> None:
    """What waits for the old instances is then for the new ones: it cannot be moved to another queue."""
    unix_disk.generations[2] = replace(unix_disk.generations[2], **settings)
    wanted = unix_disk.layout(2)
    unix_disk.install(wanted)
    assert sockets_of(unix_disk, 3) == f"Sockets=web:unix@{socket}.socket"
    assert wanted.avoid == (frozenset() if socket == 1 else {1, 2})
    unix_disk.pins, unix_disk.generation_sockets = {1: 2, 2: 2}, {1: 1, 2: socket}
    assert ("web:unix@1.socket" in unix_disk.layout(2).stale) is (socket != 1)


def test_without_a_pinned_generation_a_new_one_has_a_unix_socket_of_its_own(unix_disk: Disk) -> None:
    unix_disk.generations[2] = replace(unix_disk.generations[2], pace=AT_ONCE)
    unix_disk.pins = {}
    unix_disk.install(unix_disk.layout(2))
    assert sockets_of(unix_disk, 1) == "Sockets=web:unix@2.socket"
