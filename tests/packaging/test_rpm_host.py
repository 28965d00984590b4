"""The scripts of the RPM: rpm installs it into a host, upgrades it in the middle of a rollout, and removes it.

The host is a Debian with rpm, so the code is built for the directory in which its Python looks.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.readme import CHECKOUT
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import INSTANCES, Stage
from tests.host.steered import unharmed
from tests.packaging import deb

pytestmark = pytest.mark.thorough

MODULES = ("python3-dbus-next", "python3-jinja2", "python3-prometheus-client", "python3-systemd", "python3-typer")
RPM = ("rpm", "--nodeps")  # its database knows nothing of Debian's packages


def build(out: Path, release: str) -> Path:
    """Build the package as a release."""
    where = ("--define", "python3_sitelib /usr/lib/python3/dist-packages")
    command = [str(CHECKOUT / "packaging/rpm/build"), "--output", str(out), *where, "--define", f"dist .{release}"]
    subprocess.run(command, check=True, timeout=deb.BUILD)
    (found,) = out.glob(f"deployd-*.{release}.noarch.rpm")
    return found


@pytest.fixture
def machine(host_root: HostRoot, machine_factory: MachineFactory) -> Machine:
    if not (host_root.lower / "usr/bin/rpm").exists():
        pytest.skip("the host has no rpm")
    machine = deb.machine_with(MODULES, host_root, machine_factory)
    deb.install(machine, with_others=True)
    return machine


@pytest.mark.timeout(600)
def test_the_package_is_installed_upgraded_and_removed(machine: Machine, tmp_path: Path) -> None:
    first, second = (build(tmp_path, release) for release in ("1", "2"))
    for package in (first, second):
        shutil.copy(package, machine.path("/srv"))
    machine.run([*RPM, "--install", f"/srv/{first.name}"], timeout=deb.BUILD)
    units = ("deployd.service", "deployd-metrics.socket")
    enabled = [machine.run(["systemctl", "is-enabled", unit], check=False).stdout.strip() for unit in units]
    assert enabled == ["enabled", "disabled"]
    stage = Stage(machine)
    stage.deploy("v1", routing="steered", gate={"timeout": "10min"})  # D-Bus starts the daemon
    with stage.load(rate=100, keepalive=2) as load:
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
            begun.until("instance", state="starting")
            before = machine.run(["systemctl", "show", "--value", "--property=InvocationID", "deployd"]).stdout
            machine.run([*RPM, "--upgrade", f"/srv/{second.name}"], timeout=deb.BUILD)
            assert machine.run(["systemctl", "show", "--value", "--property=InvocationID", "deployd"]).stdout != before
            stage.admit()
            assert begun.end().result == "succeeded"
        unharmed(load.stop())
    assert stage.status()["ready"] == INSTANCES
    machine.run([*RPM, "--erase", "deployd"], timeout=deb.BUILD)
    assert stage.get()["generation"] == 2, "instances need no daemon"
    assert machine.run(["systemctl", "is-active", "deployd"], check=False).stdout == "inactive\n"
    assert not machine.path("/usr/share/deployd").exists()
    assert machine.path("/etc/deployd/apps/demo.toml").exists(), "the administrator's own file stays"
