"""The unit directory: units are installed all or none, and those of others are left alone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from deployd.errors import Refused, StateError
from deployd.model.app import App, Listen, ListenKind
from deployd.units.directory import UnitDirectory
from deployd.units.text import Unit, unit_files
from deployd.units.text.sockets import Socket
from tests.state.disks import DyingDisk, FailingDisk, PowerLoss
from tests.units.rendered import NAMES, rendered


def texts(path: Path) -> dict[str, str]:
    return {entry.name: entry.read_text() for entry in path.iterdir()}


def as_texts(units: tuple[Unit, ...]) -> dict[str, str]:
    return {unit.name: unit.text for unit in units}


def test_install_writes_and_reports_what_differs(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path)
    assert list(units.diff(rendered())) == NAMES
    assert units.install(rendered())
    assert texts(tmp_path) == units.installed("web") == as_texts(rendered())
    assert {path.stat().st_mode & 0o7777 for path in tmp_path.iterdir()} == {0o644}
    assert units.diff(rendered()) == ()
    assert not units.install(rendered())
    inodes = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    changed = rendered(socket=(("NoDelay", ("yes",)),))
    assert units.diff(changed) == ("web.socket",)
    assert units.install(changed)
    assert [name for name in NAMES if (tmp_path / name).stat().st_ino != inodes[name]] == ["web.socket"]


def test_bytes_that_are_not_utf_8_are_put_back_as_they_were(tmp_path: Path) -> None:
    UnitDirectory(tmp_path).install(rendered())
    edited = tmp_path / "web.service"
    edited.write_bytes(edited.read_bytes() + b"# caf\xe9\n")
    before = edited.read_bytes()
    kept = [Unit(name, text) for name, text in UnitDirectory(tmp_path).installed("web").items()]
    asyncio.run(UnitDirectory(tmp_path).verify("web", kept))
    for step in range(9):
        with pytest.raises(StateError):
            UnitDirectory(tmp_path, disk=FailingDisk(step)).install(rendered("2"))
        assert edited.read_bytes() == before


def test_a_file_that_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path)
    (tmp_path / "web.service").write_text("[Service]\nExecStart=/bin/mine\n")
    with pytest.raises(Refused, match=r"web\.service was not written by deployd; remove it or rename the app"):
        units.install(rendered())
    assert texts(tmp_path) == {"web.service": "[Service]\nExecStart=/bin/mine\n"}
    assert units.installed("web") == {}
    assert not units.remove("web")
    assert (tmp_path / "web.service").exists()


@pytest.mark.parametrize("target", ["/dev/null", "/nonexistent"])
def test_a_masked_unit_stays_masked(tmp_path: Path, target: str) -> None:
    (tmp_path / "web@.service").symlink_to(target)
    with pytest.raises(Refused, match=r"web@\.service is (masked|a symlink that deployd did not make)"):
        UnitDirectory(tmp_path).install(rendered())
    assert str((tmp_path / "web@.service").readlink()) == target
    assert [path.name for path in tmp_path.iterdir()] == ["web@.service"]


def test_an_app_does_not_hide_a_unit_of_another_package(tmp_path: Path) -> None:
    other = tmp_path / "usr"
    other.mkdir()
    (other / "web.service").write_text("")
    (tmp_path / "etc").mkdir()
    with pytest.raises(Refused, match=r"usr/web\.service already has the name of a unit of this app; rename the app"):
        UnitDirectory(tmp_path / "etc", others=[other]).install(rendered())
    assert texts(tmp_path / "etc") == {}


def test_remove_leaves_drop_ins_and_other_units(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path)
    units.install(rendered())
    (tmp_path / "web@.service.d").mkdir()
    (tmp_path / "other.service").write_text("")
    assert units.remove("web")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.service", "web@.service.d"]
    assert not units.remove("web")


@pytest.mark.parametrize("before", [None, "1"])
@pytest.mark.parametrize("after", [False, True])
def test_a_failure_at_any_step_restores_the_old_units(tmp_path: Path, before: str | None, after: bool) -> None:
    for step in range(12):
        path = tmp_path / str(step)
        path.mkdir()
        if before:
            UnitDirectory(path).install(rendered(before))
        with pytest.raises(StateError, match=r"cannot write .*/web.*: the disk is full; make room"):
            UnitDirectory(path, disk=FailingDisk(step, after)).install(rendered("2"))
        assert texts(path) == (as_texts(rendered(before)) if before else {})


def test_a_loss_of_power_leaves_each_file_old_or_new(tmp_path: Path) -> None:
    old, new = as_texts(rendered("1")), as_texts(rendered("2"))
    for step in range(12):
        path = tmp_path / str(step)
        path.mkdir()
        UnitDirectory(path).install(rendered("1"))
        with pytest.raises(PowerLoss):
            UnitDirectory(path, disk=DyingDisk(step)).install(rendered("2"))
        assert {text in (old[name], new[name]) for name, text in UnitDirectory(path).installed("web").items()} == {True}
        # A temporary file has a name that systemd ignores, and the next attempt removes it.
        assert {name for name in texts(path) if name not in NAMES} <= {f".{name}.new" for name in NAMES}
        UnitDirectory(path).install(rendered("2"))
        assert UnitDirectory(path).installed("web") == new


def test_contents_reach_the_disk_before_names(tmp_path: Path) -> None:
    disk = FailingDisk()
    UnitDirectory(tmp_path, disk=disk).install(rendered())
    expected = [
        step
        for name in NAMES
        for step in (
            ("remove", tmp_path / f".{name}.new"),
            ("write", tmp_path / f".{name}.new"),
            ("rename", tmp_path / name),
            ("sync", tmp_path),
        )
    ]
    assert disk.steps == expected


def test_a_masked_instance_stays_masked(tmp_path: Path) -> None:
    """No unit of its own, which would undo the mask, and no refusal, which would make a rollback impossible."""
    ours, runtime = tmp_path / "etc", tmp_path / "run"
    ours.mkdir()
    runtime.mkdir()
    (runtime / "web@3.service").symlink_to("/dev/null")
    (ours / "web@4.service").symlink_to("/dev/null")
    (ours / "web@².service").symlink_to("/dev/null")  # no instance
    units = UnitDirectory(ours, others=[runtime])
    alone = [Unit(f"web@{number}.service", rendered()[0].text) for number in (2, 3, 4)]
    assert units.install((*rendered(), *alone))
    assert {path.name for path in ours.iterdir() if not path.is_symlink()} == {*NAMES, "web@2.service"}
    assert (ours / "web@4.service").is_symlink()
    assert not units.install((*rendered(), *alone))
    (runtime / "web@2.service").symlink_to("/dev/null")  # without effect: a file in /etc has precedence
    assert units.masked("web") == {3, 4}


def test_a_masked_app_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "web.service").symlink_to("/dev/null")
    with pytest.raises(Refused, match=r"web.service is masked by .*/web.service; systemctl unmask it"):
        UnitDirectory(tmp_path).install(rendered())


def test_units_of_later_sockets_belong_to_the_app_and_no_others(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path)
    listening = [Socket("web.socket", ("80",)), Socket("web:2.socket", ("81",))]
    app = App("web", "/srv/web", ("/bin/web",), (Listen(ListenKind.TCP, "80"), Listen(ListenKind.TCP, "81")))
    rendered = unit_files(app, 1, "/var/lib/deployd", "/bin/true", listening=listening)
    assert units.install(rendered)
    for other in ("web:3.socket.bak", "web:x.socket", "web:2.timer", "xweb:2.socket", "web:04.socket"):
        shutil.copy(tmp_path / "web.socket", tmp_path / other)
    (tmp_path / "web:6.socket").write_text("[Socket]\nListenStream=86\n")
    assert list(units.installed("web")) == [*NAMES, "web:2.service", "web:2.socket"]
    assert units.remove("web")
    assert not units.installed("web")
    assert len(texts(tmp_path)) == 6
