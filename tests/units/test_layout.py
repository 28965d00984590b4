"""The unit files of a goal while `listen` changes, also after a daemon was killed between any two of them."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from deployd.model.gate import Gate, Probe
from deployd.plan.goal import Goal
from deployd.units.layout import layout, settled
from tests.units.disk import FIRST, NEW, OLD, SECOND, Disk, app, make


@pytest.fixture
def disk() -> Disk:
    """Generation 1 runs on the old address; generation 2 gets the new one."""
    disk = Disk({1: app(OLD), 2: app(NEW)})
    disk.install(disk.layout(1))
    disk.pins = {1: 1, 2: 1}
    return disk


def test_new_instances_get_both_addresses_until_the_old_ones_are_gone(disk: Disk) -> None:
    before = disk.installed[FIRST]
    wanted = disk.layout(2)
    disk.install(wanted)
    assert wanted.avoid == {1, 2}
    assert disk.installed[FIRST] == before
    assert (disk.held(1), disk.held(2), disk.held(3)) == ({FIRST}, {FIRST}, {FIRST, SECOND})
    app_unit = disk.installed["web.service"]
    assert f"Wants={FIRST} {SECOND} web@1.service" in app_unit
    assert {FIRST, SECOND, "web:2.service"} <= disk.installed.keys()

    disk.pins = {3: 2, 4: 2}
    wanted = disk.layout(2, closing=True)
    disk.install(wanted)
    assert wanted.avoid == {3, 4}
    assert disk.own.keys() == {3, 4}
    assert (disk.held(1), disk.held(3), disk.held(4)) == ({SECOND}, {FIRST, SECOND}, {FIRST, SECOND})

    disk.pins = {1: 2, 4: 2}  # during the second pass, in another daemon
    assert disk.layout(2, closing=True).avoid == {4}
    disk.pins = {1: 2, 2: 2}
    disk.close(2)
    wanted = disk.layout(2)
    assert (wanted.avoid, wanted.alone, wanted.stale) == (frozenset(), (), ("web@3.service", "web@4.service"))
    assert {unit.name for unit in wanted.units} == {SECOND, "web:2.service", "web.service", "web@.service"}


def test_an_instance_with_a_socket_that_is_closed_already_is_replaced(disk: Disk) -> None:
    """The daemon was killed after it closed the socket unit and before it stopped the last instance."""
    disk.install(disk.layout(2))
    disk.pins = {3: 2, 4: 2}
    disk.install(disk.layout(2, closing=True))
    disk.installed.pop(FIRST)
    wanted = disk.layout(2, closing=True)
    assert wanted.avoid == {3, 4}
    disk.install(wanted)
    assert disk.held(3) == {FIRST, SECOND}


@pytest.mark.parametrize("writes", range(12))
def test_a_daemon_killed_between_two_files_is_continued(disk: Disk, writes: int) -> None:
    whole = functools.partial(disk.layout, 2)
    disk.install(whole(), writes)
    assert (disk.held(1), disk.held(2)) == ({FIRST}, {FIRST})
    disk.install(whole())
    assert (disk.held(1), disk.held(2), disk.held(3)) == ({FIRST}, {FIRST}, {FIRST, SECOND})
    disk.pins = {3: 2, 4: 2}
    disk.install(disk.layout(2, closing=True), writes)
    assert (disk.held(3), disk.held(4)) == ({FIRST, SECOND}, {FIRST, SECOND})
    assert disk.layout(2, closing=True).avoid == {3, 4}
    disk.install(disk.layout(2, closing=True))
    assert (disk.held(1), disk.held(3), disk.held(4)) == ({SECOND}, {FIRST, SECOND}, {FIRST, SECOND})


def test_a_rollback_leaves_the_new_address_to_its_instances(disk: Disk) -> None:
    original = disk.layout(1)
    disk.install(disk.layout(2))
    disk.pins = {1: 1, 3: 2}
    wanted = disk.layout(1)
    disk.install(wanted)
    assert wanted.avoid == {3}
    assert disk.own.keys() == {3}
    assert (disk.held(1), disk.held(2), disk.held(3)) == ({FIRST}, {FIRST}, {FIRST, SECOND})
    disk.pins = {1: 1, 2: 1}
    disk.close(1)
    disk.install(disk.layout(1))
    assert disk.installed == {unit.name: unit.text for unit in original.units}
    assert disk.own == {}


def test_a_rollback_from_the_second_pass(disk: Disk) -> None:
    disk.install(disk.layout(2))
    disk.pins = {3: 2, 4: 2}
    disk.install(disk.layout(2, closing=True))
    disk.pins = {1: 2, 4: 2}
    wanted = disk.layout(1)
    disk.install(wanted)
    assert wanted.avoid == {1, 4}
    assert (disk.held(1), disk.held(4), disk.held(2)) == ({SECOND}, {FIRST, SECOND}, {FIRST})


def test_an_additional_address_needs_no_second_pass(disk: Disk) -> None:
    disk.generations[2] = app(OLD, NEW)
    disk.install(disk.layout(2))
    assert (disk.held(1), disk.held(3)) == ({FIRST}, {FIRST, SECOND})
    disk.pins = {3: 2, 4: 2}
    wanted = disk.layout(2)
    assert (wanted.avoid, wanted.alone, wanted.placement.going) == (frozenset(), (), ())


def test_adopted_instances_keep_their_sockets_and_are_not_replaced(disk: Disk) -> None:
    """Generation 3 supersedes the rollout to 2 and equals 1, whose instances never had the new address."""
    disk.generations[3] = app(OLD)
    disk.install(disk.layout(2))
    disk.pins = {1: 1, 3: 2}
    wanted = disk.layout(3, 1)
    disk.install(wanted)
    assert wanted.avoid == frozenset()
    assert (disk.held(1), disk.held(2), disk.held(3)) == ({FIRST}, {FIRST, SECOND}, {FIRST, SECOND})
    disk.pins = {1: 3, 2: 3}
    assert disk.layout(3, closing=True).avoid == {2}


def test_old_instances_keep_settings_and_sockets(disk: Disk) -> None:
    disk.generations[2] = app(NEW, service=(("Nice", ("2",)),))
    disk.install(disk.layout(2))
    assert "Nice=2" not in disk.own[1]
    assert "Nice=2" in disk.installed["web@.service"]


def test_an_open_socket_is_not_rewritten_for_a_comment(disk: Disk) -> None:
    disk.installed[FIRST] = disk.installed[FIRST].replace("# A connection", "# What a connection")
    assert disk.layout(1).unit(FIRST).text == disk.installed[FIRST]
    disk.generations[1] = app(OLD, socket=(("Backlog", ("7",)),))
    assert "Backlog=7" in disk.layout(1).unit(FIRST).text


def test_settled_units_are_those_of_the_end(disk: Disk) -> None:
    units = settled(disk.generations[2], Goal.of(disk.generations[2], 0, same=frozenset({1})), disk.present(), make())
    assert [unit.name for unit in units] == [SECOND, "web:2.service", "web.service", "web@.service"]
    assert f"Sockets={SECOND}\n" in units[-1].text


def test_units_that_are_not_needed_are_stale(disk: Disk) -> None:
    """Parts of a socket left by a killed daemon, and the template of private sockets without a probe over HTTP."""
    probed = Gate(probe=Probe(http="/"))
    disk.generations = {1: app(OLD, gate=probed), 2: app(OLD)}
    disk.install(disk.layout(1))
    disk.installed["web:5.service"] = disk.installed["web.service"]
    assert disk.layout(1).stale == ("web:5.service",)
    assert disk.layout(2).stale == ("web:5.service",)
    disk.pins = {}
    assert disk.layout(2).stale == ("web:probe@.socket", "web:5.service")


def test_masked_instances_are_replaced_by_others() -> None:
    """The app unit starts the numbers that are used instead."""
    disk = Disk({1: app(OLD), 2: app(OLD)}, pins={1: 1, 2: 1, 4: 2})
    there = replace(disk.present(), masked=frozenset({2, 3, 4}))
    goal = Goal.of(disk.generations[2], 2)
    wanted = layout(disk.generations[2], goal, there, disk.generations.get, make(), closing=False)
    assert not wanted.avoid
    assert f"web@{goal.ceiling + 3}.service" in wanted.unit("web.service").text
