"""Pins and generations: every change is atomic, wherever it is interrupted."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.errors import InvalidRequest, StateError
from deployd.state.disk import Disk
from deployd.state.pins import Pins, StandbyRecord
from tests.state.disks import DyingDisk, FailingDisk, PowerLoss

FILES = {"run": ("#!/bin/sh\n", 0o755), "environment": ("A=b\n", 0o600)}
OTHER = {"run": ("#!/bin/sh\nother\n", 0o755), "environment": ("A=c\n", 0o600)}


def contents(directory: Path) -> dict[str, tuple[str, int]]:
    """Return the files of a generation, and the target of its symlink `release`."""
    found = {
        path.name: (path.read_text(), path.stat().st_mode & 0o7777) for path in directory.iterdir() if path.is_file()
    }
    return found | {"release": (str((directory / "release").readlink()), 0)}


def whole(files: dict[str, tuple[str, int]], release: str = "/srv/v1") -> dict[str, tuple[str, int]]:
    return files | {"release": (release, 0)}


def test_a_generation_is_reached_through_the_pin(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.write_generation("web", 7, FILES, "/srv/v1")
    pins.pin("web", 3, 7)
    assert pins.read("web") == {3: 7}
    through = tmp_path / "apps/web/pins/3"
    assert str(through.readlink()) == "../generations/7"
    assert contents(through) == whole(FILES)


def test_many_instances_are_pinned_with_one_wait_for_the_disk(tmp_path: Path) -> None:
    class Counting(Disk):
        synced: ClassVar[list[str]] = []

        def sync(self, directory: Path) -> None:
            self.synced.append(directory.name)
            super().sync(directory)

    pins = Pins(tmp_path, Counting())
    pins.write_generation("web", 7, FILES, "/srv/v1")
    pins.pin("web", 1, 7)
    pins.set_aside("web", 2, 7, 1.0)
    Counting.synced.clear()
    before = pins.read("web")
    pins.pin_all("web", range(1, 65), 7)
    assert Counting.synced.count("pins") == 1
    assert pins.read("web") == dict.fromkeys(range(1, 65), 7) != before
    assert pins.standby("web") == {}
    assert Pins(tmp_path).read("web") == pins.read("web")
    with pytest.raises(StateError, match="generation 4 of web is not on the disk"):
        pins.pin_all("web", (1, 2), 4)


def test_directories_are_searchable_for_all_users_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        pins = Pins(tmp_path)
        pins.write_generation("web", 1, FILES, "/srv/v1")
        pins.pin("web", 1, 1)
    finally:
        os.umask(before)
    for path in ("apps", "apps/web", "apps/web/pins", "apps/web/generations", "apps/web/generations/1"):
        assert (tmp_path / path).stat().st_mode & 0o7777 == 0o755


def test_writing_the_same_generation_again_changes_nothing(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.write_generation("web", 1, FILES, "/srv/v1")
    inode = (tmp_path / "apps/web/generations/1").stat().st_ino
    pins.write_generation("web", 1, FILES, "/srv/v1")
    assert (tmp_path / "apps/web/generations/1").stat().st_ino == inode


def test_a_generation_left_by_a_killed_daemon_is_replaced_unless_in_use(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.write_generation("web", 1, FILES, "/srv/v1")
    pins.write_generation("web", 1, OTHER, "/srv/v1")
    assert contents(tmp_path / "apps/web/generations/1") == whole(OTHER)
    pins.pin("web", 1, 1)
    with pytest.raises(StateError, match="generation 1 of web exists with other contents and is in use"):
        pins.write_generation("web", 1, FILES, "/srv/v1")
    assert contents(tmp_path / "apps/web/generations/1") == whole(OTHER)


def test_a_pin_to_a_missing_generation_is_refused(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    with pytest.raises(StateError, match="generation 4 of web is not on the disk; roll out again"):
        pins.pin("web", 1, 4)
    assert pins.read("web") == {}


def test_foreign_entries_are_ignored(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    assert pins.read("web") == {}
    pins.write_generation("web", 2, FILES, "/srv/v1")
    pins.pin("web", 1, 2)
    directory = tmp_path / "apps/web/pins"
    (directory / "2").write_text("a file")
    (directory / "3").mkdir()
    (directory / "4").symlink_to("/etc")
    (directory / "05").symlink_to("../generations/2")
    (directory / "x").symlink_to("../generations/2")
    (directory / ".1.new").symlink_to("../generations/2")
    (directory / "6").symlink_to("../generations/two")
    (directory / "7").symlink_to("../generations/9")
    (directory / os.fsdecode(b"\xff")).write_text("")
    # A pin to a missing generation is still a pin, so that its instance does not appear unpinned.
    assert pins.read("web") == {1: 2, 7: 9}


def test_unpin_prune_and_remove(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.unpin("web", 1)
    for number in range(1, 6):
        pins.write_generation("web", number, FILES, "/srv/v1")
    pins.pin("web", 1, 1)
    pins.pin("web", 2, 5)
    (tmp_path / "apps/web/generations/.9.new").mkdir()
    (tmp_path / "apps/web/generations/notes").write_text("an administrator's")
    pins.unpin("web", 2)
    pins.unpin("web", 2)
    pins.prune("web", {4})
    assert pins.generations("web") == (1, 4)
    assert sorted(path.name for path in (tmp_path / "apps/web/generations").iterdir()) == ["1", "4", "notes"]
    pins.remove("web")
    pins.remove("web")
    assert not (tmp_path / "apps/web").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "/etc", "a/b", ".hidden"])
def test_a_name_never_leaves_the_state_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        Pins(tmp_path).remove(name)


def two_generations(pins: Pins) -> None:
    pins.write_generation("web", 1, FILES, "/srv/v1")
    pins.write_generation("web", 2, OTHER, "/srv/v2")
    pins.pin("web", 1, 1)
    pins.pin("web", 1, 2)


def steps_of(tmp_path: Path) -> list[tuple[str, str]]:
    """Return the steps on disk of writing two generations and two pins, in order."""
    disk = FailingDisk()
    tmp_path.mkdir(exist_ok=True)
    two_generations(Pins(tmp_path, disk))
    return [(step, str(path.relative_to(tmp_path)) if path != tmp_path else "") for step, path in disk.steps]


def test_contents_reach_the_disk_before_names_and_names_before_the_next_step(tmp_path: Path) -> None:
    steps = steps_of(tmp_path)
    for index, (step, path) in enumerate(steps):
        parent = str(Path(path).parent)
        if step == "rename" and "generations" in path:
            assert steps[index - 1][0] == "remove"
            assert steps[index - 2] == ("sync", f"{parent}/.{Path(path).name}.new")
        if step == "rename":
            assert steps[index + 1] == ("sync", parent)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies", [False, True])
def test_a_failure_at_any_step_leaves_the_old_or_the_new_state(tmp_path: Path, after: bool, dies: bool) -> None:
    count = len(steps_of(tmp_path / "count"))
    for step in range(count):
        state = tmp_path / str(step)
        state.mkdir()
        disk = DyingDisk(step, after) if dies else FailingDisk(step, after)
        pins = Pins(state, disk)
        with pytest.raises(PowerLoss if dies else StateError):
            two_generations(pins)
        # A new daemon finds complete generations only, and each pin at one of them.
        later = Pins(state)
        for number in later.generations("web"):
            expected = {1: whole(FILES), 2: whole(OTHER, "/srv/v2")}[number]
            assert contents(state / "apps/web/generations" / str(number)) == expected
        assert set(later.read("web").values()) <= set(later.generations("web"))
        # It can continue from there, and removes all leftovers.
        later.write_generation("web", 1, FILES, "/srv/v1")
        later.write_generation("web", 2, OTHER, "/srv/v2")
        later.pin("web", 1, 2)
        later.prune("web", {1})
        assert later.read("web") == {1: 2}
        found = {path.name for part in ("generations", "pins") for path in (state / "apps/web" / part).iterdir()}
        assert found == {"1", "2"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, "the disk is full; make room"),
        (errno.EROFS, "the file system is read-only; remount it"),
        (errno.EACCES, "permission denied; let the user of deployd write there"),
    ],
)
def test_errors_name_the_operation_and_the_reason(tmp_path: Path, code: int, reason: str) -> None:
    pins = Pins(tmp_path, FailingDisk(0, code=code))
    with pytest.raises(StateError, match=f"cannot write generation 1 of web: {reason}"):
        pins.write_generation("web", 1, FILES, "/srv/v1")


def test_an_instance_in_standby_has_no_pin_and_keeps_its_generation(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    two_generations(pins)
    pins.pin("web", 2, 1)
    pins.set_aside("web", 2, 1, 12.5)
    assert pins.read("web") == {1: 2}, "no boot or restart may start it"
    assert pins.standby("web") == Pins(tmp_path).standby("web") == {2: StandbyRecord(1, 12.5)}
    assert pins.held("web") == {1: 2, 2: 1}
    pins.set_aside("web", 2, 1, 99.0)
    assert pins.standby("web") == {2: StandbyRecord(1, 12.5)}, "the first record is kept"
    pins.prune("web", set())
    assert pins.generations("web") == (1, 2)
    with pytest.raises(StateError, match="is in use"):
        pins.write_generation("web", 1, OTHER, "/srv/v1")
    pins.pin("web", 2, 1)
    assert (pins.read("web"), pins.standby("web")) == ({1: 2, 2: 1}, {})
    pins.set_aside("web", 2, 1, 12.5)
    pins.unpin("web", 2)
    assert (pins.read("web"), pins.standby("web")) == ({1: 2}, {})


@pytest.mark.parametrize("text", ["", "1", "x 1.0\n", "1 1.0", "0 1.0\n", "1 1.0\n\n", "1 -1.0\n"])
def test_invalid_standby_records_are_ignored(tmp_path: Path, text: str) -> None:
    pins = Pins(tmp_path)
    two_generations(pins)
    pins.set_aside("web", 2, 1, 12.5)
    (tmp_path / "apps/web/standby/2").write_text(text)
    (tmp_path / "apps/web/standby/x").write_text("1 1.0\n")
    assert Pins(tmp_path).standby("web") == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("back", [False, True])
def test_at_every_step_an_instance_is_pinned_or_in_standby(tmp_path: Path, after: bool, dies: bool, back: bool) -> None:
    """Never both, or it would start at the next boot; and never neither, or its generation would be unknown."""

    def turn(pins: Pins, *, back: bool) -> None:
        if back:
            pins.pin("web", 2, 1)
        else:
            pins.set_aside("web", 2, 1, 12.5)

    for step in range(100):
        state = tmp_path / str(step)
        state.mkdir()
        pins = Pins(state)
        two_generations(pins)
        pins.pin("web", 2, 1)
        if back:
            turn(pins, back=False)
        disk = DyingDisk(step, after) if dies else FailingDisk(step, after)
        try:
            turn(Pins(state, disk), back=back)
        except (PowerLoss, StateError):
            later = Pins(state)
            assert (2 in later.read("web")) != (2 in later.standby("web"))
            assert later.held("web") == {1: 2, 2: 1}
            turn(later, back=back)
            assert (2 in later.read("web")) is back
        else:
            assert step
            break
    else:
        raise AssertionError("the operation never completed")


operations = st.lists(
    st.one_of(
        st.tuples(st.just("pin"), st.integers(1, 4), st.integers(1, 4)),
        st.tuples(st.just("unpin"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("prune"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("die"), st.integers(0, 12), st.integers(1, 4)),
    ),
    max_size=20,
)


@given(operations)
@settings(deadline=None, max_examples=50)
def test_the_last_pin_of_each_instance_applies(steps: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as directory:
        pins = Pins(directory)
        expected: dict[int, int] = {}
        for what, first, second in steps:
            if what == "pin":
                pins.write_generation("web", second, FILES, f"/srv/{second}")
                pins.pin("web", first, second)
                expected[first] = second
            elif what == "unpin":
                pins.unpin("web", first)
                expected.pop(first, None)
            elif what == "prune":
                pins.prune("web", {first})
            else:
                try:
                    dying = Pins(directory, DyingDisk(first))
                    dying.write_generation("web", second, FILES, f"/srv/{second}")
                    dying.pin("web", 1, second)
                    expected[1] = second
                except PowerLoss:
                    assert pins.read("web").get(1) in (expected.get(1), second)
                    expected = dict(pins.read("web"))
            assert pins.read("web") == dict(sorted(expected.items()))
            assert set(expected.values()) <= set(pins.generations("web"))
