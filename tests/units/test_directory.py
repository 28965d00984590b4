"""The unit directory: ours is written whole or not at all, what is not ours is left alone."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.errors import InvalidFile, Refused, StateError, SystemdError
from deployd.model.app import App, Directives, Listen, ListenKind
from deployd.units import render
from deployd.units.directory import UnitDirectory
from deployd.units.render import Unit
from deployd.units.render.sockets import Socket
from tests.state.disks import DyingDisk, FailingDisk, PowerLoss

NAMES = ["web.socket", "web.service", "web@.service"]


def rendered(backlog: str = "1", service: Directives = (), socket: Directives = ()) -> tuple[Unit, ...]:
    """Units of an app; all three differ when `backlog` does."""
    app = App(
        "web",
        "/srv/web",
        ("/bin/web",),
        (Listen(ListenKind.TCP, "127.0.0.1:80"),),
        service=(*service, ("LimitNOFILE", (backlog,))),
        socket=(*socket, ("Backlog", (backlog,))),
    )
    return render.units(app, int(backlog), "/var/lib/deployd", "/bin/true")


def texts(path: Path) -> dict[str, str]:
    return {entry.name: entry.read_text() for entry in path.iterdir()}


def as_texts(units: tuple[Unit, ...]) -> dict[str, str]:
    return {unit.name: unit.text for unit in units}


def test_install_writes_what_differs_and_says_so(tmp_path: Path) -> None:
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
    asyncio.run(UnitDirectory(tmp_path).verify(kept))
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


def test_remove_takes_ours_and_leaves_drop_ins(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path)
    units.install(rendered())
    (tmp_path / "web@.service.d").mkdir()
    (tmp_path / "other.service").write_text("")
    assert units.remove("web")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.service", "web@.service.d"]
    assert not units.remove("web")


@pytest.mark.parametrize("before", [None, "1"])
@pytest.mark.parametrize("after", [False, True])
def test_at_every_step_a_failure_puts_back_what_was_there(tmp_path: Path, before: str | None, after: bool) -> None:
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
        # A temporary file has a name that systemd ignores, and the next try takes it away.
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


needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze") and not os.environ.get("CI"), reason="systemd-analyze is not installed"
)


@needs_analyze
def test_verify_accepts_good_units_and_writes_nothing(tmp_path: Path) -> None:
    asyncio.run(UnitDirectory(tmp_path).verify(rendered("4000")))
    assert texts(tmp_path) == {}


@needs_analyze
def test_what_a_killed_daemon_left_of_a_verification_is_swept(tmp_path: Path) -> None:
    left = tmp_path / "scratch/tmp1234"
    left.mkdir(parents=True)
    (left / "web.service").write_text("[Service]\n")
    units = UnitDirectory(tmp_path / "units", scratch=tmp_path / "scratch")
    units.sweep()
    assert list((tmp_path / "scratch").iterdir()) == []
    asyncio.run(units.verify(rendered()))
    assert list((tmp_path / "scratch").iterdir()) == []


@needs_analyze
@pytest.mark.parametrize(
    ("service", "socket", "expected"),
    [
        ((("NoSuchThing", ("1",)),), (), r"\[service\] NoSuchThing: Unknown key (name )?'NoSuchThing' in section"),
        ((("MemoryMax", ("lots",)),), (), r"\[service\] MemoryMax: .*lots"),
        ((), (("SocketMode", ("rw",)),), r"\[socket\] SocketMode: .*rw"),
        ((("ExecStartPre", ("/nonexistent/x",)),), (), r"web@.*\.service: Command /nonexistent/x is not executable"),
        ((("ExecStartPre", ('/bin/true "x',)),), (), r"\[service\] ExecStartPre: Unbalanced quoting"),
    ],
)
def test_verify_names_the_key(tmp_path: Path, service: Directives, socket: Directives, expected: str) -> None:
    sentence = rf"^/etc/deployd/apps/web\.toml: systemd-analyze verify complains: .*{expected}.*; correct or remove"
    with pytest.raises(InvalidFile, match=sentence):
        asyncio.run(UnitDirectory(tmp_path).verify(rendered(service=service, socket=socket)))


def analyze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "systemd-analyze"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("deployd.units.directory.SEARCH_PATH", f"{tmp_path}:/usr/bin:/bin")


def test_verify_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(tmp_path, monkeypatch, "exec sleep infinity")
    with pytest.raises(SystemdError, match=r"did not verify the units within 0\.2 s; try again"):
        asyncio.run(UnitDirectory(tmp_path).verify(rendered(), deadline=0.2))


def test_a_status_without_a_word_is_no_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(tmp_path, monkeypatch, "exit 3")
    with pytest.raises(SystemdError, match="failed with status 3 and no message"):
        asyncio.run(UnitDirectory(tmp_path).verify(rendered()))


def test_without_systemd_analyze_nothing_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.units.directory.SEARCH_PATH", str(tmp_path))
    with pytest.raises(SystemdError, match="cannot run systemd-analyze to verify the units: it is not installed"):
        asyncio.run(UnitDirectory(tmp_path).verify(rendered()))


def test_names_with_dots_are_not_held_against_anyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(tmp_path, monkeypatch, "echo \"Accepting user/group name 'a.b', which does not match strict rules.\" >&2")
    asyncio.run(UnitDirectory(tmp_path).verify(rendered()))


def test_a_masked_instance_is_left_to_who_masked_it(tmp_path: Path) -> None:
    """No own unit, which would undo the mask, and no refusal, which would leave a rollout no way back."""
    ours, runtime = tmp_path / "etc", tmp_path / "run"
    ours.mkdir()
    runtime.mkdir()
    (runtime / "web@3.service").symlink_to("/dev/null")
    (ours / "web@4.service").symlink_to("/dev/null")
    units = UnitDirectory(ours, others=[runtime])
    alone = [Unit(f"web@{number}.service", rendered()[0].text) for number in (2, 3, 4)]
    assert units.install((*rendered(), *alone))
    assert {path.name for path in ours.iterdir() if not path.is_symlink()} == {*NAMES, "web@2.service"}
    assert (ours / "web@4.service").is_symlink()
    assert not units.install((*rendered(), *alone))
    (runtime / "web@2.service").symlink_to("/dev/null")  # without effect: what is in our directory comes first
    assert units.masked("web") == {3, 4}


def test_a_masked_app_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "web.service").symlink_to("/dev/null")
    with pytest.raises(Refused, match=r"web.service is masked by .*/web.service; systemctl unmask it"):
        UnitDirectory(tmp_path).install(rendered())


def test_units_of_later_sockets_are_the_app_s_and_nothing_else_is(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path)
    listening = [Socket("web.socket", ("80",)), Socket("web:2.socket", ("81",))]
    app = App("web", "/srv/web", ("/bin/web",), (Listen(ListenKind.TCP, "80"), Listen(ListenKind.TCP, "81")))
    rendered = render.units(app, 1, "/var/lib/deployd", "/bin/true", listening=listening)
    assert units.install(rendered)
    for other in ("web:3.socket.bak", "web:x.socket", "web:2.timer", "xweb:2.socket", "web:04.socket"):
        shutil.copy(tmp_path / "web.socket", tmp_path / other)
    (tmp_path / "web:6.socket").write_text("[Socket]\nListenStream=86\n")
    assert list(units.installed("web")) == [*NAMES, "web:2.service", "web:2.socket"]
    assert units.remove("web")
    assert not units.installed("web")
    assert len(texts(tmp_path)) == 6


@needs_analyze
@pytest.mark.parametrize("what", ["web:2.socket", "web:2.service"])
def test_verify_sees_later_sockets_too(tmp_path: Path, what: str) -> None:
    listening = [Socket("web.socket", ("80",)), Socket("web:2.socket", ("81",))]
    app = App("web", "/srv/web", ("/bin/web",), (Listen(ListenKind.TCP, "80"), Listen(ListenKind.TCP, "81")))
    rendered = render.units(app, 1, "/var/lib/deployd", "/bin/true", listening=listening)
    asyncio.run(UnitDirectory(tmp_path).verify(rendered))
    broken = [replace(unit, text=unit.text.replace("\nDescription=", "\nNoSuchThing=")) for unit in rendered]
    table = what.rpartition(".")[2]
    mixed = tuple(bad if bad.name == what else good for bad, good in zip(broken, rendered, strict=True))
    with pytest.raises(InvalidFile, match=rf"\[{table}\] NoSuchThing: Unknown key (name )?'NoSuchThing' in section"):
        asyncio.run(UnitDirectory(tmp_path).verify(mixed))
