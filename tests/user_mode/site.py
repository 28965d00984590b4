"""A user of a host with a service manager of its own that lingers, and the app `demo` of that user."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.host import files
from tests.host.begun import DEADLINE, Begun
from tests.host.machine import Machine
from tests.host.stage import APP, INSTANCES, Stage
from tests.sample_apps.release import app_file, make_release

USER = "dora"
HOME = f"/srv/people/{USER}"
APPS = f"{HOME}/.config/deployd/apps"
UNITS = f"{HOME}/.config/systemd/user"
STATE = f"{HOME}/.local/state/deployd"
JOURNAL = "[Journal]\nStorage=persistent\nSplitMode=uid\n"
"""As on a machine that Debian has installed: without it, users have no journal that they can read."""


def prepare(machine: Machine) -> None:
    """Make the user, with lingering, and give it a journal."""
    machine.run(["useradd", "--create-home", "--base-dir", "/srv/people", "--shell", "/bin/bash", USER])
    machine.write("/etc/systemd/journald.conf.d/zz-user.conf", JOURNAL)
    machine.run(["mkdir", "-p", "/var/log/journal"])
    machine.run(["systemctl", "restart", "systemd-journald"])
    machine.run(["journalctl", "--flush"])
    path = ":".join(map(str, machine.root.python_path))
    machine.write(f"{HOME}/.config/environment.d/50-python.conf", f"PYTHONPATH={path}\n")  # here is no wheel
    machine.run(["chown", "-R", f"{USER}:{USER}", HOME])
    machine.run(["loginctl", "enable-linger", USER])
    machine.wait_unit(f"user@{uid(machine)}.service")


def uid(machine: Machine) -> int:
    return int(files.account(machine.path("/"), USER)[2])


@dataclass(slots=True)
class Site(Stage):
    """`demo` of the user. Nothing here runs as root, except what writes files for the user."""

    runtime: str = field(init=False)

    def __post_init__(self) -> None:
        self.runtime = f"/run/user/{uid(self.machine)}"
        Stage.__post_init__(self)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a login shell of the user has in addition."""
        return {"XDG_RUNTIME_DIR": self.runtime}

    def run(self, *argv: str, check: bool = True, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
        """Run a command as the user."""
        return self.machine.run(list(argv), user=USER, env=self.environment, check=check, timeout=timeout)

    def deployd(
        self,
        *argv: str,
        user: str | None = None,
        timeout: float = DEADLINE,
    ) -> subprocess.CompletedProcess[str]:
        return self.run("deployd", "--user", *argv, check=False, timeout=timeout)

    def begin(self, verb: str, *argv: str) -> Begun:
        command = ["deployd", "--user", verb, APP, *argv, "--json"]
        pipe = subprocess.PIPE
        begun = Begun(self.machine.popen(command, user=USER, env=self.environment, stdout=pipe, stderr=pipe))
        self._open.append(begun)
        return begun

    def write(self, path: str, text: str) -> None:
        """Write a file of the user."""
        self.machine.write(path, text)
        self.machine.run(["chown", "-R", f"{USER}:{USER}", HOME])

    def configure(self, **settings: object) -> None:
        self.settings |= settings
        options = {"port": 8080, "instances": INSTANCES, "routing": None} | self.settings
        self.write(f"{APPS}/{APP}.toml", app_file(APP, **options))  # type: ignore[arg-type]

    def release(
        self,
        version: str,
        mode: str = "good",
        boot: float = 0.0,
        handler_ms: float | None = None,
        files: Mapping[str, str] | None = None,
        barrier: bool = False,
    ) -> str:
        assert not barrier
        path = f"{HOME}/{APP}/{version}"
        make_release(self.machine.path(path), version, mode, boot, handler_ms, files)
        self.machine.run(["chown", "-R", f"{USER}:{USER}", HOME])
        return path

    def systemctl(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--user", *argv, check=check)


@contextmanager
def of_roots(machine: Machine) -> Iterator[None]:
    """Check that the block changes nothing that belongs to the system: units, state, files of deployd."""
    places = ("/etc/systemd/system", "/var/lib/deployd", "/run/deployd", "/etc/deployd", "/run/systemd/system")
    before = _entries(machine, places)
    yield
    assert _entries(machine, places) == before


def _entries(machine: Machine, places: tuple[str, ...]) -> set[Path]:
    return {path for place in places for path in machine.path(place).rglob("*")}
