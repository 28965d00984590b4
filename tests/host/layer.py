"""Writes the files that make a root boot quickly and quietly as a disposable host, into the overlay's upper layer.

Units that the lower layer enables are found by reading it rather than from a list of names: every unit wanted by a
target and every generator is masked, except the few that the tests need.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

UNITS = "usr/lib/systemd/system"
GENERATORS = "usr/lib/systemd/system-generators"

KEPT = frozenset(
    {
        "dbus.service",
        "dbus.socket",
        "systemd-journald.service",
        "systemd-journald.socket",
        "systemd-journald-dev-log.socket",
        "systemd-logind.service",
        "systemd-tmpfiles-setup.service",
        "systemd-user-sessions.service",
    }
)

JOURNAL = """\
[Journal]
Storage=volatile
RateLimitIntervalSec=0
Audit=no
"""


def prepare(root: Path, name: str) -> None:
    """Turn the overlay mounted at `root` into the host `name`. Runs once, before the first boot."""
    _forget_local_units(root / "etc/systemd")
    for target in (root / UNITS).glob("*.wants"):
        for unit in target.iterdir():
            if unit.name not in KEPT and not unit.name.endswith(".target"):
                mask(root / "etc/systemd/system" / unit.name)
    for generator in (root / GENERATORS).iterdir():
        mask(root / "etc/systemd/system-generators" / generator.name)
    write(root / "etc/systemd/journald.conf.d/host.conf", JOURNAL)
    write(root / "etc/machine-id", hashlib.md5(f"deployd {name}".encode(), usedforsecurity=False).hexdigest() + "\n")
    write(root / "etc/hostname", f"{name}\n")
    write(root / "etc/hosts", f"127.0.0.1 localhost {name}\n::1 localhost {name}\n")
    write(root / "etc/fstab", "")
    for directory in ("etc/deployd", "var/lib/deployd", "var/log/journal"):
        shutil.rmtree(root / directory, ignore_errors=True)
    for directory in ("proc", "sys", "dev", "run", "tmp"):
        (root / directory).mkdir(exist_ok=True)


def mask(path: Path) -> None:
    """Link `path` to /dev/null, so that systemd ignores the unit or generator of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/null")


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path`, even if it is a symlink out of the root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _forget_local_units(systemd: Path) -> None:
    """Remove what was installed, enabled or changed on the machine."""
    shutil.rmtree(systemd, ignore_errors=True)
    (systemd / "system").mkdir(parents=True)
