"""The commands of systemd that make it use what has been installed, and stop using it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from deployd.errors import DeploydError

Command = tuple[str, ...]

MINUTES = 2
RUNNING = Path("/run/systemd/system")
"""Exists if systemd is PID 1, see sd_booted(3)."""
DAEMON = "deployd.service"
USER = ("systemctl", "--user")
DBUS = "org.freedesktop.DBus"
RELOAD_OF_USER: tuple[Command, ...] = (
    (*USER, "daemon-reload"),
    # dbus-daemon does not notice the first file in a directory that did not exist.
    ("busctl", "--user", "call", DBUS, "/org/freedesktop/DBus", DBUS, "ReloadConfig"),
)
ENDPOINTS = (
    *("deployd-metrics.socket", "deployd-metrics.service"),
    *("deployd-health.socket", "deployd-health.service"),
    "deployd-fleet.service",
)
"""Off by default: an open port, and other hosts, are the administrator's decision."""
LIBRARIES = ("usr/lib*/systemd/libsystemd-shared-*.so", "usr/lib/*/systemd/libsystemd-shared-*.so")


def booted() -> bool:
    return RUNNING.is_dir()


def version(root: Path = Path("/")) -> int:
    """Return the version of systemd below a root; that of this machine if it has none, 0 if neither has."""
    names = [path.name for pattern in LIBRARIES for path in root.glob(pattern)]
    if not names:
        try:
            names = [_run(("systemctl", "--version"))]
        except DeploydError:
            return 0
    found = re.match(r"(?:libsystemd-shared-|systemd )([0-9]+)", names[0])
    return int(found[1]) if found else 0


def after_install(first: bool, running: bool, *, user: bool = False) -> tuple[Command, ...]:
    """Return the commands after files were installed, for the `first` time or again, with systemd `running` or not, or
    for a `user` manager, which is running.

    An administrator may have disabled deployd since the first time; it stays disabled.
    """
    if user:
        start: Command = (*USER, "--quiet", "enable", "--now", DAEMON) if first else (*USER, "try-restart", DAEMON)
        return (*RELOAD_OF_USER, start)
    files: tuple[Command, ...] = (("systemd-sysusers", "deployd.conf"), ("journalctl", "--update-catalog"))
    if not running:
        return (*files, ("systemctl", "--quiet", "enable", DAEMON)) if first else files
    # dbus-daemon notices new files, but not at once, and without its policy the daemon gets no name.
    reload = (("systemctl", "daemon-reload"), ("systemctl", "try-reload-or-restart", "dbus.service"))
    if first:
        return (*files, *reload, ("systemctl", "--quiet", "enable", "--now", DAEMON))
    return (*files, *reload, ("systemctl", "try-restart", DAEMON, *ENDPOINTS))


def before_removal(files: Iterable[str], running: bool, *, user: bool = False) -> tuple[Command, ...]:
    """Return the commands before these files are removed."""
    if user:
        return ((*USER, "--quiet", "disable", "--now", DAEMON),)
    names = {PurePosixPath(file).name for file in files}
    units = [unit for unit in (*ENDPOINTS, DAEMON) if unit in names]
    now = ("--now",) if running else ()
    return (("systemctl", "--quiet", "disable", *now, *units),) if units else ()


def after_removal(running: bool, *, user: bool = False) -> tuple[Command, ...]:
    """Return the commands after files were removed."""
    if user:
        return RELOAD_OF_USER
    return (("journalctl", "--update-catalog"), *((("systemctl", "daemon-reload"),) if running else ()))


def run(commands: Iterable[Command]) -> None:
    """Run commands, one after the other. Raises DeploydError for the first that fails."""
    for command in commands:
        _run(command)


def _run(command: Command) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=MINUTES * 60
        )
    except OSError as error:
        raise DeploydError(f"{command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise DeploydError(f"{' '.join(command)} has not ended within {MINUTES} min") from None
    if done.returncode:
        *_, last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise DeploydError(f"{' '.join(command)} failed: {last}")
    return done.stdout
