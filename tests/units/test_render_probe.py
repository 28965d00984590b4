"""The private socket of an instance: its unit, and its position among the sockets that are passed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.model import unit_name
from deployd.model.app import App, Listen, ListenKind, Routing
from deployd.model.gate import Gate, GateType, Probe
from deployd.units.text import generation_files, socket_paths, unit_files
from tests.units import systemd_syntax as syntax

PLAIN = App("web", "/srv/web", ("/bin/web",), (Listen(ListenKind.TCP, "127.0.0.1:80"),))
HTTP = replace(PLAIN, gate=Gate(probe=Probe("/")))
STATE = "/var/lib/deployd"
# Passes a file for each name, as systemd passes a socket, from fd 3 on.
PASS = """
import os, sys
names = sys.argv[2:]
os.closerange(3, 64)
for number, name in enumerate(names, 3):
    fd = os.open(f"{number}-{name}", os.O_CREAT | os.O_RDWR)
    assert fd == number
    os.set_inheritable(fd, True)
os.environ.update(LISTEN_FDS=str(len(names)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(names))
os.execv("/bin/sh", ["/bin/sh", sys.argv[1], "7"])
"""
TELL = """\
#!/bin/sh
echo "$LISTEN_FDS $LISTEN_FDNAMES"
for fd in /proc/self/fd/[0-9]*; do
    case $(readlink "$fd") in "$PWD"/[0-9]*) echo "${fd##*/} $(basename "$(readlink "$fd")")" ;; esac
done
env | grep -c DEPLOYD_names
"""


def test_only_apps_with_a_probe_over_http_have_private_sockets() -> None:
    assert [unit.name for unit in unit_files(HTTP, 1, STATE)][-1] == "web:probe@.socket"
    command = replace(PLAIN, gate=Gate(probe=Probe(command=("x",))))
    for app in (PLAIN, command):
        units = {unit.name: unit.text for unit in unit_files(app, 1, STATE)}
        assert "web:probe@.socket" not in units
        assert "probe" not in units["web@.service"]
    # An older generation may need them.
    assert "web:probe@.socket" in [unit.name for unit in unit_files(PLAIN, 1, STATE, probe_sockets=True)]


@pytest.mark.parametrize(
    ("addresses", "private"),
    [
        (["8080"], False),
        (["0.0.0.0:8080"], False),
        (["[::1]:8080"], False),
        (["127.0.0.5:8080"], False),
        (["192.0.2.7:8080", "[::]:81"], False),
        (["192.0.2.7:8080"], True),
        (["[2001:db8::1]:8080"], True),
        (["/run/web.sock"], True),
    ],
)
def test_a_steered_app_has_private_sockets_only_if_its_listeners_cannot_be_probed(
    addresses: list[str], private: bool
) -> None:
    kinds = [ListenKind.UNIX if address.startswith("/") else ListenKind.TCP for address in addresses]
    app = replace(HTTP, listen=tuple(map(Listen, kinds, addresses)), routing=Routing.STEERED)
    steered = {unit.name: unit.text for unit in unit_files(app, 1, STATE, steer=True, generation_socket=1)}
    assert ("web:probe@.socket" in steered) is private
    assert ("web:probe@%i.socket" in steered["web@.service"]) is private
    assert "web:probe@.socket" in [unit.name for unit in unit_files(app, 1, STATE)], "where the kernel cannot steer"


def test_the_private_socket_belongs_to_one_instance() -> None:
    units = {unit.name: dict(syntax.sections(unit.text)) for unit in unit_files(HTTP, 1, STATE)}
    sockets = dict(units["web@.service"]["Service"])["Sockets"].split()
    assert [syntax.expand(name, "7") for name in sockets] == ["web.socket", unit_name.probe_socket("web", 7)]
    unit, socket = dict(units["web:probe@.socket"]["Unit"]), dict(units["web:probe@.socket"]["Socket"])
    assert syntax.expand(socket["ListenStream"], "7") == socket_paths.probe("web", 7) == "/run/deployd/probe/web/7.sock"
    assert syntax.expand(socket["Service"], "7") == syntax.expand(unit["BindsTo"], "7") == "web@7.service"
    assert socket["FileDescriptorName"] == "probe"
    assert unit["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize("type_", GateType)
def test_the_type_of_the_gate_is_that_of_the_unit(type_: GateType) -> None:
    app = replace(HTTP, gate=replace(HTTP.gate, type=type_))
    text = next(unit.text for unit in unit_files(app, 1, STATE) if unit.name == "web@.service")
    assert f"Type={type_}" in text.splitlines()


@pytest.mark.parametrize(
    ("passed", "order"),
    [
        (["web", "probe"], [3, 4]),
        (["probe", "web"], [4, 3]),
        (["probe", "a", "b"], [4, 5, 3]),
        (["a", "probe", "b"], [3, 5, 4]),
        (["a", "b", "probe"], [3, 4, 5]),
        (["a", "b", "probe", "c", "d", "e"], [3, 4, 6, 7, 8, 5]),
        (["probe", "a", "b", "c", "d", "e"], [4, 5, 6, 7, 8, 3]),
        (["web", "myprobe", "probes"], [3, 4, 5]),
        (["probe"], [3]),
        # Too many for sh: they are left as they are.
        (["probe", "a", "b", "c", "d", "e", "f"], [3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_the_private_socket_is_passed_last(tmp_path: Path, passed: list[str], order: list[int]) -> None:
    program = tmp_path / "program"
    program.write_text(TELL)
    program.chmod(0o755)
    app = replace(HTTP, exec=(str(program),))
    script = tmp_path / "run"
    script.write_text(generation_files(app, 1, str(tmp_path))["run"][0])
    done = subprocess.run(
        [sys.executable, "-SEc", PASS, script, *passed],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    names = [passed[number - 3] for number in order]
    first, *fds, leaked = done.stdout.splitlines()
    assert (first, done.stderr) == (f"{len(passed)} {':'.join(names)}", "")
    assert fds == [f"{fd} {number}-{name}" for fd, number, name in zip(range(3, 10), order, names, strict=False)]
    assert leaked == "0"
