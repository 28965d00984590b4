"""The mounts of one host, in the private mount namespace of its supervisor: overlay, checkout, fresh /run, /tmp, /dev.

They are invisible to the machine, and end with the supervisor. The upper layer is a tmpfs that outlives the host's own
namespaces, which makes reboots possible.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.host.root import IN_HOST

# Candidates for a tmpfs, which hides the machine's directory from the supervisor only.
PLACES = (Path("/mnt"), Path("/media"), Path("/srv"), Path("/opt"))

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}


@dataclass(frozen=True, slots=True)
class Mounts:
    """A host's directory in the supervisor's mount namespace, and the machine's directories to show in it."""

    state: Path
    lower: Path
    shown: dict[Path, Path]
    """Maps paths on the host to directories of the machine."""

    @classmethod
    def choose(cls, lower: Path, checkout: Path, python: Path) -> Mounts:
        """Choose the first place that hides nothing needed, and find what the overlay alone would not show."""
        shown = {IN_HOST: checkout}
        if lower == Path("/") and not _in_root(python):
            shown[python.parents[1]] = python.parents[1]
        needed = [lower, checkout, python, Path(sys.prefix), Path(sys.base_prefix)]
        for place in PLACES:
            if place.is_dir() and not any(path.is_relative_to(place) for path in needed):
                return cls(place, lower, shown)
        raise OSError(f"none of {', '.join(map(str, PLACES))} is free to mount the host's files on")

    @property
    def root(self) -> Path:
        """The merged root of the host."""
        return self.state / "root"

    @property
    def log(self) -> Path:
        """The output of the host's first process before the journal started."""
        return self.state / "log"

    def build(self) -> Path:
        """Mount the overlay, once for all boots."""
        mount("-t", "tmpfs", "-o", "mode=755", "host", self.state)
        for name in ("root", "upper", "work"):
            (self.state / name).mkdir()
        options = f"lowerdir={self.lower},upperdir={self.state / 'upper'},workdir={self.state / 'work'}"
        mount("-t", "overlay", "-o", options, "overlay", self.root)
        return self.root

    def fresh(self) -> socket.socket:
        """Mount what each boot needs afresh; return the socket on which systemd reports that it is ready."""
        for name, mode in (("run", "755"), ("tmp", "1777"), ("dev", "755")):
            where = self.root / name
            if where.is_mount():
                subprocess.run(["umount", "--recursive", "--lazy", where], check=True)
            mount("-t", "tmpfs", "-o", f"mode={mode},nosuid", name, where)
        self._devices(self.root / "dev")
        for target, source in self.shown.items():
            self._show(source, self.root / target.relative_to("/"))
        host = self.root / "run/host"
        host.mkdir()
        (host / "boot_id").write_text(f"{uuid.uuid4()}\n")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notify.bind(str(host / "notify"))
        return notify

    def _show(self, source: Path, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        if not target.is_mount():
            mount("--bind", source, target)
            mount("-o", "remount,bind,ro", target)

    def _devices(self, dev: Path) -> None:
        old = os.umask(0)
        try:
            for name, (major, minor) in DEVICES.items():
                os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        finally:
            os.umask(old)
        for name, target in LINKS.items():
            (dev / name).symlink_to(target)
        for name in ("pts", "shm", "mqueue"):
            (dev / name).mkdir()
        mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "devpts", dev / "pts")
        mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "shm", dev / "shm")


def _in_root(path: Path) -> bool:
    """True if the overlay over `/` shows a path: on the same mount, and not where a host has a tmpfs."""
    hidden = any(path.is_relative_to(place) for place in ("/run", "/tmp", "/dev"))
    return not hidden and path.stat().st_dev == Path("/").stat().st_dev


def mount(*arguments: str | Path) -> None:
    """Run mount(8). Raises OSError with its message."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"mount {' '.join(map(str, arguments))}: {done.stderr.strip()}")
