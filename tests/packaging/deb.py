"""The Debian package, and hosts on which packages are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.docs.readme import CHECKOUT
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.servers.packages import debian_packages

BUILD = 300.0
PACKAGES = "/srv/packages"


def build() -> Path:
    """Build the package."""
    subprocess.run([CHECKOUT / "packaging/deb"], check=True, timeout=BUILD)
    (found,) = (CHECKOUT / "dist").glob("deployd_*_all.deb")
    return found


def needed(package: Path) -> list[str]:
    """Return what the package depends on and what it recommends."""
    words = [word for field in ("Depends", "Recommends") for word in _field(package, field).split(",")]
    return [word.split()[0].partition(":")[0] for word in words]


def _field(package: Path, name: str) -> str:
    shown = subprocess.run(["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True)
    return shown.stdout


def newer(package: Path, work: Path, version: str, migrations: Iterable[int] = ()) -> Path:
    """Return the package under another version, whose deployd has these migrations of the history in addition."""
    tree = work / version
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    (module,) = tree.rglob("deployd/state/migrations.py")
    more = "".join(f"MIGRATIONS[{number}] = lambda db: None\n" for number in migrations)
    module.write_text(module.read_text().replace("\nOLDEST, VERSION = ", f"\n{more}OLDEST, VERSION = "))
    built = work / f"deployd_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, built], check=True, stdout=subprocess.DEVNULL)
    return built


def machine_with(packages: Iterable[str], root: HostRoot, factory: MachineFactory) -> Machine:
    """Return a host without deployd that has, in `PACKAGES`, Debian packages that are not installed yet."""
    machine = factory("package", install=False)
    there = machine.path(PACKAGES)
    there.mkdir(parents=True)
    for package in debian_packages(root, [*packages]):
        shutil.copy(package, there)
    machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)  # of containers: starts no service
    machine.path("/var/lib/man-db/auto-update").unlink(missing_ok=True)  # man-db would read all manuals of the machine
    return machine


def install(machine: Machine, *packages: Path, with_others: bool = False) -> None:
    """Install packages with dpkg, and all of `PACKAGES` if wanted."""
    for package in packages:
        shutil.copy(package, machine.path("/srv"))
    files = [f"/srv/{package.name}" for package in packages]
    if with_others:
        files += [f"{PACKAGES}/{found.name}" for found in machine.path(PACKAGES).iterdir()]
    if files:
        machine.run(["dpkg", "--install", *files], timeout=BUILD)
