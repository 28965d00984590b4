"""Whose service manager deployd works with: that of the system, or with --user that of the calling user.

A scope is chosen once, where a process begins, and passed to what needs a path, a bus or the fields of the journal. The
directories are those of systemd.unit(5) and of the XDG base directory specification.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = 0


@dataclass(frozen=True, slots=True)
class JournalFields:
    """Fields in which journal entries name units (systemd.journal-fields(7)); those of user units have other names."""

    of_unit: str
    """The unit of the process that wrote the entry. journald adds it."""
    about_unit: str
    """The unit that an entry of the service manager is about."""
    about_invocation: str
    about_object: str
    """The unit that an entry of a daemon is about."""
    of_manager: Mapping[str, str]
    """What the entries of the service manager have, and no other entries that journald receives."""
    owner: str
    """The user ID of the service manager."""
    has_extra: bool
    """True if journald adds the fields of LogExtraFields= to what units write."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The service manager, its message bus, and the directories of deployd."""

    is_user: bool
    configuration: Path
    state: Path
    runtime: Path
    units: Path
    """The directory in which deployd writes units."""
    runtime_units: Path
    """The directory of units that are gone after a reboot, or after the last logout."""
    other_units: tuple[Path, ...]
    """Further directories of units. A unit in `units` hides one of the same name that is there."""
    control: tuple[Path, ...]
    """Where ``systemctl set-property`` writes drop-ins."""
    cache: Path
    """The directory of CacheDirectory= (systemd.exec(5))."""
    credentials: Path
    """Where the service manager puts the credentials of units."""
    data: Path
    """Where files that do not change are installed."""
    target: str
    """The target that an app is started with."""
    journal: JournalFields
    bus: str | None = None
    """The address of the bus; None for that of the system."""

    @property
    def all_units(self) -> tuple[Path, ...]:
        """All directories of units and drop-ins."""
        return (*self.control, self.units, *self.other_units)

    @property
    def apps(self) -> Path:
        """The directory of the app files."""
        return self.configuration / "apps"

    @property
    def presets(self) -> Path:
        """The directory of the presets that are not deployd's own."""
        return self.configuration / "presets"

    @property
    def option(self) -> tuple[str, ...]:
        """The option with which systemctl(1), journalctl(1) and deployd(1) choose this scope."""
        return ("--user",) if self.is_user else ()


def _paths(*paths: str) -> tuple[Path, ...]:
    return tuple(map(Path, paths))


SYSTEM = Scope(
    is_user=False,
    configuration=Path("/etc/deployd"),
    state=Path("/var/lib/deployd"),
    runtime=Path("/run/deployd"),
    units=Path("/etc/systemd/system"),
    runtime_units=Path("/run/systemd/system"),
    other_units=_paths(
        *("/run/systemd/transient", "/run/systemd/system", "/run/systemd/generator"),
        *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
    ),
    control=_paths("/etc/systemd/system.control", "/run/systemd/system.control"),
    cache=Path("/var/cache"),
    credentials=Path("/run/credentials"),
    data=Path("/usr/share"),
    target="multi-user.target",
    journal=JournalFields(
        of_unit="_SYSTEMD_UNIT",
        about_unit="UNIT",
        about_invocation="INVOCATION_ID",
        about_object="OBJECT_SYSTEMD_UNIT",
        of_manager={"_PID": "1"},
        owner=str(ROOT),
        has_extra=True,
    ),
)


def of_user(user: int, home: str, environment: Mapping[str, str]) -> Scope:
    """Return the scope of a user with this `environment`, in which paths that are not absolute are ignored."""

    def directory(variable: str, default: str) -> Path:
        found = environment.get(variable, "")
        return Path(found if found.startswith("/") else default)

    runtime = directory("XDG_RUNTIME_DIR", f"/run/user/{user}")
    configuration = directory("XDG_CONFIG_HOME", f"{home}/.config")
    data = directory("XDG_DATA_HOME", f"{home}/.local/share")
    return Scope(
        is_user=True,
        configuration=configuration / "deployd",
        state=directory("XDG_STATE_HOME", f"{home}/.local/state") / "deployd",
        runtime=runtime / "deployd",
        units=configuration / "systemd/user",
        runtime_units=runtime / "systemd/user",
        other_units=(
            *(runtime / "systemd/transient", runtime / "systemd/user", runtime / "systemd/generator"),
            *_paths("/etc/systemd/user", "/run/systemd/user", str(data / "systemd/user")),
            *_paths("/usr/local/share/systemd/user", "/usr/share/systemd/user"),
            *_paths("/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"),
        ),
        control=(configuration / "systemd/user.control", runtime / "systemd/user.control"),
        cache=directory("XDG_CACHE_HOME", f"{home}/.cache"),
        credentials=runtime / "credentials",
        data=data,
        target="default.target",
        journal=JournalFields(
            of_unit="_SYSTEMD_USER_UNIT",
            about_unit="USER_UNIT",
            about_invocation="USER_INVOCATION_ID",
            about_object="OBJECT_SYSTEMD_USER_UNIT",
            of_manager={"_UID": str(user), "_SYSTEMD_USER_UNIT": "init.scope"},
            owner=str(user),
            has_extra=False,
        ),
        bus=environment.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime / 'bus'}",
    )


def of_process() -> Scope:
    """Return the scope of the user of this process."""
    user, home = os.geteuid(), os.environ.get("HOME", "")
    if not home.startswith("/"):
        home = pwd.getpwuid(user).pw_dir
    return of_user(user, home, os.environ)
