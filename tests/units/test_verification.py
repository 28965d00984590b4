"""Verification of units by systemd-analyze before they are installed."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.errors import InvalidFile, SystemdError
from deployd.model.app import App, Directives, Listen, ListenKind
from deployd.units.directory import UnitDirectory
from deployd.units.text import unit_files
from deployd.units.text.sockets import Socket
from tests.units.rendered import rendered

needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze") and not os.environ.get("CI"), reason="systemd-analyze is not installed"
)


@needs_analyze
def test_good_units_pass_and_nothing_is_written(tmp_path: Path) -> None:
    asyncio.run(UnitDirectory(tmp_path).verify("web", rendered("4000")))
    assert list(tmp_path.iterdir()) == []


@needs_analyze
def test_sweep_removes_what_a_killed_daemon_left(tmp_path: Path) -> None:
    left = tmp_path / "scratch/tmp1234"
    left.mkdir(parents=True)
    (left / "web.service").write_text("[Service]\n")
    units = UnitDirectory(tmp_path / "units", scratch=tmp_path / "scratch")
    units.sweep()
    assert list((tmp_path / "scratch").iterdir()) == []
    asyncio.run(units.verify("web", rendered()))
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
def test_the_error_names_the_key_of_the_app_file(
    tmp_path: Path, service: Directives, socket: Directives, expected: str
) -> None:
    sentence = rf"^/etc/deployd/apps/web\.toml: systemd-analyze verify complains: .*{expected}.*; correct or remove"
    with pytest.raises(InvalidFile, match=sentence):
        asyncio.run(UnitDirectory(tmp_path).verify("web", rendered(service=service, socket=socket)))


def analyze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "systemd-analyze"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("deployd.units.verification.SEARCH_PATH", f"{tmp_path}:/usr/bin:/bin")


def test_verify_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(tmp_path, monkeypatch, "exec sleep infinity")
    with pytest.raises(SystemdError, match=r"did not verify the units within 0\.2 s; try again"):
        asyncio.run(UnitDirectory(tmp_path).verify("web", rendered(), deadline=0.2))


def test_a_failure_without_output_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(tmp_path, monkeypatch, "exit 3")
    with pytest.raises(SystemdError, match="failed with status 3 and no message"):
        asyncio.run(UnitDirectory(tmp_path).verify("web", rendered()))


def test_a_missing_systemd_analyze_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.units.verification.SEARCH_PATH", str(tmp_path))
    with pytest.raises(SystemdError, match="cannot run systemd-analyze to verify the units: it is not installed"):
        asyncio.run(UnitDirectory(tmp_path).verify("web", rendered()))


def test_names_with_dots_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(tmp_path, monkeypatch, "echo \"Accepting user/group name 'a.b', which does not match strict rules.\" >&2")
    asyncio.run(UnitDirectory(tmp_path).verify("web", rendered()))


@needs_analyze
@pytest.mark.parametrize("what", ["web:2.socket", "web:2.service"])
def test_verify_reads_later_sockets_too(tmp_path: Path, what: str) -> None:
    listening = [Socket("web.socket", ("80",)), Socket("web:2.socket", ("81",))]
    app = App("web", "/srv/web", ("/bin/web",), (Listen(ListenKind.TCP, "80"), Listen(ListenKind.TCP, "81")))
    rendered = unit_files(app, 1, "/var/lib/deployd", "/bin/true", listening=listening)
    asyncio.run(UnitDirectory(tmp_path).verify("web", rendered))
    broken = [replace(unit, text=unit.text.replace("\nDescription=", "\nNoSuchThing=")) for unit in rendered]
    table = what.rpartition(".")[2]
    mixed = tuple(bad if bad.name == what else good for bad, good in zip(broken, rendered, strict=True))
    with pytest.raises(InvalidFile, match=rf"\[{table}\] NoSuchThing: Unknown key (name )?'NoSuchThing' in section"):
        asyncio.run(UnitDirectory(tmp_path).verify("web", mixed))
