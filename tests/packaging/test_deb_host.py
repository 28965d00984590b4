"""The package, installed by dpkg into a host without deployd, does the whole job there, and takes it away again."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.docs.readme import CHECKOUT
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import APP, INSTANCES, Stage
from tests.host.steered import unharmed
from tests.servers.packages import debian_packages

BUILD = 300.0


@pytest.fixture(scope="module")
def package() -> Path:
    """Build the package."""
    subprocess.run([CHECKOUT / "packaging/deb"], check=True, timeout=BUILD)
    (found,) = (CHECKOUT / "dist").glob("deployd_*_all.deb")
    return found


@pytest.fixture
def machine(package: Path, host_root: HostRoot, machine_factory: MachineFactory) -> Machine:
    """A host with the package, what it depends on and what it recommends, and nothing else of deployd."""
    names = [name for field in ("Depends", "Recommends") for name in _named(package, field)]
    machine = machine_factory("package", install=False)
    there = machine.path("/srv/packages")
    there.mkdir(parents=True)
    for one in (*debian_packages(host_root, names), package):
        shutil.copy(one, there)
    machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)  # of containers: starts no service
    return machine


def _named(package: Path, field: str) -> list[str]:
    shown = subprocess.run(["dpkg-deb", "--field", package, field], capture_output=True, text=True, check=True)
    return [word.split()[0].partition(":")[0] for word in shown.stdout.split(",")]


def test_the_page_of_cockpit_is_a_package_of_its_own(package: Path) -> None:
    (other,) = package.parent.glob("cockpit-deployd_*_all.deb")

    def pages(archive: Path) -> set[str]:
        listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(listed)) as tar:
            return {Path(item.name).name for item in tar if item.isfile() and "/usr/share/cockpit/" in item.name}

    assert pages(other) == {path.name for path in (CHECKOUT / "packaging/cockpit").iterdir()}
    assert pages(package) == set()


@pytest.mark.timeout(600)
def test_the_package_is_installed_used_and_purged(machine: Machine) -> None:
    machine.run(["sh", "-c", "dpkg --install /srv/packages/*.deb"], timeout=BUILD)
    states = (
        machine.run(["systemctl", "is-active", "deployd"]).stdout,
        machine.run(["systemctl", "is-enabled", "deployd"]).stdout,
    )
    assert states == ("active\n", "enabled\n")
    metrics = machine.run(["systemctl", "is-enabled", "deployd-metrics.socket"], check=False).stdout
    assert metrics == "disabled\n", "an open port is the administrator's decision"
    machine.run(["systemctl", "start", "deployd-metrics.socket"])
    scrape = ["curl", "--silent", "--fail", "http://127.0.0.1:9967/metrics"]
    assert "\ndeployd_up 1.0\n" in machine.run(scrape).stdout
    stage = Stage(machine)
    stage.deploy("v1", routing="steered", gate={"timeout": "10min"})  # an instance waits while dpkg runs
    with stage.load(rate=100, keepalive=2) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        # An upgrade restarts the daemon in the middle of a rollout, which continues.
        with stage.begin("rollout", "--release", stage.release("v3", barrier=True)) as begun:
            begun.until("instance", state="starting")
            machine.run(["sh", "-c", "dpkg --install /srv/packages/deployd_*.deb"], timeout=BUILD)
            stage.admit()
            assert begun.end().result == "succeeded"
        unharmed(load.stop())
    assert stage.status()["ready"] == INSTANCES
    assert "deployd" in machine.run(["man", "-P", "cat", "deployd"]).stdout
    machine.run(["dpkg", "--remove", "deployd"], timeout=BUILD)
    assert stage.get()["generation"] == 3, "instances need no daemon"
    assert machine.run(scrape, check=False).returncode == 7, "nothing listens any more"
    machine.run(["dpkg", "--purge", "deployd"], timeout=BUILD)
    assert not machine.path("/var/lib/deployd").exists()
    assert machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}*"]).stdout == ""
    assert not list(machine.path("/etc/systemd/system").rglob(f"{APP}*"))
    assert machine.path(f"/etc/deployd/apps/{APP}.toml").exists(), "the administrator's own file stays"
