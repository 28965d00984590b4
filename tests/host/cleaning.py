"""Resets a running host to its state after the first boot, which is faster and tests more than a new host.

That state is a set of paths; anything else below the directories named here is removed, together with the units it
defined. A test that changes an existing file (for example below /usr) must restore it, or boot a host of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.host.machine import Machine

UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",  # hooks that a daemon left behind
)
STATE = (
    "/var/lib/deployd",
    "/var/cache/deployd",
    "/run/deployd",
)  # never kept: the daemon writes it from the first boot on
OTHERS = ("/etc/deployd", "/srv", "/etc/polkit-1/rules.d", *STATE)
DAEMON = "deployd.service"


def snapshot(machine: Machine) -> frozenset[str]:
    """Return the paths that `clean` keeps."""
    return frozenset(str(path) for path in _entries(machine) if not any(map(path.is_relative_to, STATE)))


def clean(machine: Machine, kept: frozenset[str]) -> None:
    """Stop and remove everything created since `kept` was taken; restart deployd if the host has it."""
    has_daemon = machine.path(f"/usr/lib/systemd/system/{DAEMON}").exists()
    new = [path for path in _entries(machine) if str(path) not in kept]
    units = sorted({pattern for path in new for pattern in _patterns(path)} | ({DAEMON} if has_daemon else set()))
    if units:
        # Killed between the request and the wait, so that an application that ignores SIGTERM takes no time.
        stop = ("systemctl stop --no-block", "systemctl kill --signal=KILL", "systemctl stop")
        machine.run(["sh", "-c", "; ".join(f'{command} -- "$@"' for command in stop), "clean", *units], check=False)
    for point in _mount_points(machine):
        if any(point.is_relative_to(directory) for directory in OTHERS):
            machine.run(["umount", "--lazy", str(point)])
    for path in sorted(_entries(machine), reverse=True):  # the deepest first
        if str(path) not in kept:
            _remove(machine, path)
    start = f" && systemctl start {DAEMON}" if has_daemon else ""
    machine.run(["sh", "-c", f"systemctl daemon-reload && systemctl reset-failed{start}"])


def _entries(machine: Machine) -> Iterator[Path]:
    """Yield all paths below the directories to clean, as seen by the host."""
    root = machine.path("/")
    for directory in (*UNIT_DIRECTORIES, *OTHERS):
        top = root / directory.lstrip("/")
        if top.is_dir() and not top.is_symlink():
            yield from (Path("/") / path.relative_to(root) for path in top.rglob("*"))


def _patterns(path: Path) -> Iterator[str]:
    """Yield the units that a new file in a unit directory defines; all instances for a template."""
    if str(path.parent) in UNIT_DIRECTORIES and path.suffix in (
        ".service",
        ".socket",
        ".timer",
        ".target",
        ".path",
        ".slice",
    ):
        yield path.name.replace("@.", "@*.") if "@." in path.name else path.name


def _mount_points(machine: Machine) -> list[Path]:
    """Return the mount points of the host, the latest first."""
    lines = Path(f"/proc/{machine.leader_pid}/mountinfo").read_text().splitlines()
    return [Path(line.split()[4].replace("\\040", " ")) for line in reversed(lines)]


def _remove(machine: Machine, path: Path) -> None:
    target = machine.path(path.parent) / path.name
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
