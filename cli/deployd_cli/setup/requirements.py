"""Why deployd setup is refused: not root, code that others can write, missing Python modules, files of a package."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from deployd.errors import Refused
from deployd.model.scope import Scope

ROOT = 0
LINGER = Path("/var/lib/systemd/linger")
MODULES = ("dbus_next", "jinja2", "systemd", "typer")
"""What the daemon and the command import."""
REMEDIES = {
    "systemd": "install python3-systemd and have deployd see it (pipx install --system-site-packages deployd), or"
    " install gcc, pkg-config, libsystemd-dev and python3-dev, and then systemd-python next to deployd (pipx inject"
    " deployd systemd-python)"
}
OWNERS = (
    ("dpkg-query", "--search", "--"),
    ("rpm", "--query", "--queryformat", "%{NAME}: \n", "--file", "--"),
)
"""Commands that print "PACKAGE: " for each file of a package."""


def require_root() -> None:
    """Raise Refused unless root runs this."""
    if os.geteuid() != ROOT:
        raise Refused("deployd setup installs system files; run it as root")


def require_manager(scope: Scope) -> None:
    """Raise Refused unless the user manager of the caller runs, with a message bus."""
    bus = scope.runtime.parent / "bus"
    if not bus.exists():
        raise Refused(
            f"{bus} does not exist: there is no service manager of this user, or it has no message bus; log in, or have"
            f" an administrator run loginctl enable-linger {pwd.getpwuid(os.geteuid()).pw_name}; on Debian, that takes"
            " the packages dbus-user-session and libpam-systemd"
        )


def lingers(user: int) -> bool:
    """True if the service manager of a user runs from the boot on, and after the last logout."""
    return (LINGER / pwd.getpwuid(user).pw_name).exists()


def require_modules() -> None:
    """Raise Refused if a module that the daemon imports is missing."""
    for module in MODULES:
        if importlib.util.find_spec(module) is None:
            remedy = REMEDIES.get(module, "install deployd again, with its dependencies")
            raise Refused(f"the Python module {module} is missing, which the daemon needs; {remedy}")


def require_unowned(destinations: Iterable[str]) -> None:
    """Raise Refused if a file belongs to a package of the system."""
    present = [destination for destination in destinations if os.path.lexists(destination)]
    for command in OWNERS:
        if present and (package := _owner(command, present)):
            raise Refused(
                f"the package {package} has installed deployd's files; use it as it is, or remove the package first"
            )


def _owner(command: tuple[str, ...], files: Iterable[str]) -> str:
    """Return a package that has one of the files; "" if there is none, or no such packages on this machine."""
    try:
        done = subprocess.run((*command, *files), capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    found = re.search(r"^([a-z0-9][\w.+-]*)(?::\w+)?: ", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def code() -> list[Path]:
    """Return the interpreter and the directories of the modules that root will execute."""
    specs = filter(None, map(importlib.util.find_spec, ("deployd", "deployd_cli", *MODULES)))
    origins = [Path(spec.origin).parent for spec in specs if spec.origin]
    return [Path(sys.executable), Path(sys.executable).resolve(), *dict.fromkeys(origins)]


def require_trusted(paths: Iterable[Path]) -> None:
    """Raise Refused if another user than root can write code that the daemon would execute as root."""
    for path in dict.fromkeys(each for program in paths for each in (program, *program.parents)):
        info = path.lstat()
        link = stat.S_ISLNK(info.st_mode)
        others = stat.S_IWOTH | (stat.S_IWGRP if info.st_gid != ROOT else 0)
        if info.st_uid != ROOT or (info.st_mode & others and not link):
            raise Refused(
                f"{path} can be written by another user than root, so the daemon would execute that user's code; chown"
                " root and chmod go-w it, or install deployd elsewhere as root, for example in /opt/deployd"
            )


def hidden(paths: Iterable[Path]) -> Path | None:
    """Return a directory that keeps other users from the code; None if there is none."""
    for path in paths:
        for directory in reversed(path.parents):
            if not directory.stat().st_mode & stat.S_IXOTH:
                return directory
    return None
