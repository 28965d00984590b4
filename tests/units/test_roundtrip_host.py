"""A process gets what its app file says, byte for byte: rendered units and generations on a real systemd."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployd import config
from deployd.model.app import App
from deployd.state.pins import Pins
from deployd.units.directory import UnitDirectory
from deployd.units.text import generation_files, unit_files
from tests.host.machine import Machine
from tests.host.root import HostRoot

STATE = "/var/lib/deployd"
DEADLINE = 30.0

DUMP = """\
#!/usr/bin/python3
import os, signal, socket
path = os.environ["DUMP_TO"] + "." + os.environ["DEPLOYD_INSTANCE"]
with open(path + ".new", "wb") as file:
    for name in ("cmdline", "environ"):
        file.write(open("/proc/self/" + name, "rb").read() + b"\\0")
    file.write(os.getcwd().encode() + b"\\0" + os.environ["LISTEN_FDS"].encode())
os.rename(path + ".new", path)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    signal.pause()
"""

NASTY = [
    "",
    " ",
    "\t leading and trailing \t",
    "$HOME ${HOME} $$ $(id) `id`",
    "%i %n %% %",
    "\"double\" 'single' \\backslash\\ \\n \\",
    "# comment ; other",
    "line\nnext=line\r\nthird\n",
    "continued\\\nline",
    "".join(map(chr, range(1, 32))) + "\x7f",
    "".join(map(chr, range(0x80, 0x100))),
    "ünïcödé 漢字 \U0001f680 \u200b \ufeff \u2028",
    "x" * 10_000 + "\"'\\$%",
    "[Service]\nExecStart=/bin/false",
    "*?[a-z]{b,c}~!&|<>()",
    "y" * 100_000,
]


@pytest.fixture(scope="module")
def host(host_root: HostRoot) -> Iterator[Machine]:
    """A host without the daemon: the units must work without it (invariant 5)."""
    with Machine.boot("units", host_root, install=False) as machine:
        yield machine


def deploy(host: Machine, app: App, number: int, release: str, instances: int, state: str = STATE) -> Pins:
    """Do what the daemon does for a first deployment, from outside the host."""
    units = UnitDirectory(host.path("/etc/systemd/system"), others=[])
    pins = Pins(host.path("/") / state.removeprefix("/"))
    host.write(f"{release}/dump.py", DUMP)
    host.write(f"{release}/bin/du mp$x", DUMP, 0o755)
    pins.write_generation(app.name, number, generation_files(app, number, release), release)
    for instance in range(1, instances + 1):
        pins.pin(app.name, instance, number)
    if units.install(unit_files(app, instances + 1, state, "/bin/true")):
        host.run(["systemctl", "daemon-reload"])
    return pins


@dataclasses.dataclass
class Dump:
    """Return what an instance got."""

    argv: list[bytes]
    environment: dict[str, bytes]
    directory: str
    sockets: str


def dump_of(host: Machine, app: str, instance: int) -> Dump:
    parts = host.path(f"/run/{app}/dump.{instance}").read_bytes().split(b"\0")
    sockets, directory = parts.pop().decode(), parts.pop().decode()
    # An empty string ends each of the two lists. Arguments may be empty, assignments are not.
    assert parts.pop() == b""
    end = len(parts) - 1 - parts[::-1].index(b"")
    environment = dict(item.split(b"=", 1) for item in parts[end + 1 :])
    return Dump(parts[:end], {key.decode(): value for key, value in environment.items()}, directory, sockets)


def toml(value: object) -> str:
    """Return a value as TOML. Strings and arrays of JSON are valid TOML, except for DEL and escaped surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def app_file(name: str, exec_: list[str], environment: dict[str, str], more: str = "", service: str = "") -> App:
    lines = [
        f'release = "/srv/{name}"',
        f"exec = {toml(exec_)}",
        f'listen = ["/run/{name}.sock"]',
        'routing = "shared"',
        more,
        "[environment]",
        f'DUMP_TO = "/run/{name}/dump"',
        *(f"{key} = {toml(value)}" for key, value in environment.items()),
        "[service]",
        f'RuntimeDirectory = "{name}"',
        'RuntimeDirectoryPreserve = "yes"',
        service,
    ]
    return config.parse(name, "\n".join(lines), f"{name}.toml")


def test_arguments_and_environment_arrive_byte_for_byte(host: Machine) -> None:
    environment = {f"NASTY_{index}": value for index, value in enumerate(NASTY)}
    app = app_file("nasty", ["/usr/bin/python3", "dump.py", *NASTY], environment, 'user = "www-data"')
    deploy(host, app, 7, "/srv/nasty/releases/v%i $1", 1)
    host.run(["systemctl", "start", "nasty@1.service"])
    seen = dump_of(host, "nasty", 1)
    assert seen.argv == [word.encode() for word in app.exec]
    expected = dict(app.environment) | {
        "DEPLOYD_APP": "nasty",
        "DEPLOYD_PROCESS": "web",
        "DEPLOYD_GENERATION": "7",
        "DEPLOYD_INSTANCE": "1",
        "DEPLOYD_RELEASE": "/srv/nasty/releases/v%i $1",
    }
    assert {key: seen.environment.get(key) for key in expected} == {key: v.encode() for key, v in expected.items()}
    assert seen.directory == "/srv/nasty/releases/v%i $1"
    assert seen.sockets == "1"
    # The others are set by systemd and the shell.
    others = set(seen.environment) - set(expected)
    assert others <= {
        "LANG", "PATH", "HOME", "LOGNAME", "USER", "SHELL", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID",
        "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "RUNTIME_DIRECTORY", "PWD", "SHLVL", "OLDPWD",
        "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
    }  # fmt: skip


def test_a_program_in_the_release_and_a_state_directory_with_odd_names(host: Machine) -> None:
    state = "/var/lib/de %i$HOME \"ployd'"
    app = app_file("odd", ["bin/du mp$x", "%i"], {})
    deploy(host, app, 1, "/srv/odd's", 1, state)
    host.run(["systemctl", "start", "odd@1.service"])
    # The kernel runs the interpreter with the program as its first argument.
    assert dump_of(host, "odd", 1).argv == [b"/usr/bin/python3", b"/srv/odd's/bin/du mp$x", b"%i"]


def test_the_user_of_the_app_cannot_read_the_environment_file(host: Machine) -> None:
    app = app_file("secret", ["/usr/bin/python3", "dump.py"], {"TOKEN": "s3cret"}, 'user = "www-data"')
    deploy(host, app, 1, "/srv/secret", 1)
    found = host.run(["grep", "-r", "s3cret", STATE, "/etc/systemd/system"], user="www-data", check=False)
    assert found.stdout == ""
    host.run(["systemctl", "start", "secret@1.service"])
    assert dump_of(host, "secret", 1).environment["TOKEN"] == b"s3cret"


def test_environment_overrides_files_and_deployd_overrides_both(host: Machine) -> None:
    app = app_file(
        "files",
        ["/usr/bin/python3", "dump.py"],
        {"A": "inline"},
        'environment_files = ["/etc/default/files", "-/etc/default/missing"]',
    )
    captured = ("A=first\nB='of", "A=file\nB=file\nDEPLOYD_APP=file\nDEPLOYD_INSTANCE=9\nDEPLOYD_GENERATION=9\n")
    app = dataclasses.replace(app, environment_contents=captured)
    deploy(host, app, 3, "/srv/files", 1)
    host.run(["systemctl", "start", "files@1.service"])
    environment = dump_of(host, "files", 1).environment
    names = ("A", "B", "DEPLOYD_APP", "DEPLOYD_INSTANCE", "DEPLOYD_GENERATION")
    assert [environment[name] for name in names] == [b"inline", b"file", b"files", b"1", b"3"]


def test_a_connection_starts_the_pinned_instances_and_a_crash_the_same_generation(host: Machine) -> None:
    app = app_file("whole", ["/usr/bin/python3", "dump.py", "one"], {"GENERATION": "one"}, service='RestartSec = "1h"')
    pins = deploy(host, app, 1, "/srv/whole/1", 2)
    host.run(["systemctl", "start", "whole.socket"])
    with host.connect("/run/whole.sock"):
        for instance in (1, 2):
            host.wait_unit(f"whole@{instance}.service")
    host.wait_unit("whole.service")
    # The app unit wants instance 3, which has no pin.
    assert host.run(["systemctl", "is-active", "whole@3.service"], check=False).stdout == "inactive\n"

    two = dataclasses.replace(app, exec=("/usr/bin/python3", "dump.py", "two"), environment=(*app.environment[:1],))
    pins.write_generation("whole", 2, generation_files(two, 2, "/srv/whole/1"), "/srv/whole/1")
    pins.pin("whole", 2, 2)
    before = {instance: main_pid(host, instance) for instance in (1, 2)}
    for instance in (1, 2):
        Path(host.path(f"/run/whole/dump.{instance}")).unlink()
        host.run(["systemctl", "kill", "--signal=KILL", f"whole@{instance}.service"])
        # A start job would wait for RestartSec=; a restart job does not.
        host.wait_unit(f"whole@{instance}.service", "activating")
        host.run(["systemctl", "restart", f"whole@{instance}.service"])
        assert main_pid(host, instance) != before[instance]
    assert [dump_of(host, "whole", instance).argv[-1] for instance in (1, 2)] == [b"one", b"two"]
    assert "GENERATION" in dump_of(host, "whole", 1).environment
    assert "GENERATION" not in dump_of(host, "whole", 2).environment
    # The socket first: a queued connection would start the app again.
    host.run(["systemctl", "stop", "whole.socket"])
    host.run(["systemctl", "stop", "whole.service"])
    for instance in (1, 2):
        host.wait_unit(f"whole@{instance}.service", "inactive")


def main_pid(host: Machine, instance: int) -> int:
    return int(host.run(["systemctl", "show", "--value", "--property=MainPID", f"whole@{instance}.service"]).stdout)
