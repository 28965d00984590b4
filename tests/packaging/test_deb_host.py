"""The package, installed by dpkg into a host without deployd, does the whole job there, and takes it away again.

Upgrades and downgrades in the middle of a rollout lose no request and no history.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from deployd.state.migrations import VERSION
from tests.docs.readme import CHECKOUT
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import APP, BARRIER, INSTANCES, Stage
from tests.host.steered import unharmed
from tests.packaging import deb

SUCCEEDED = [(generation, "succeeded") for generation in (3, 2, 1)]


@pytest.fixture(scope="module")
def package() -> Path:
    return deb.build()


@pytest.fixture
def machine(package: Path, host_root: HostRoot, machine_factory: MachineFactory) -> Machine:
    """A host with the package, what it depends on and what it recommends, and nothing else of deployd."""
    machine = deb.machine_with(deb.needed(package), host_root, machine_factory)
    deb.install(machine, package, with_others=True)
    return machine


def close_barrier(stage: Stage) -> None:
    for admitted in stage.machine.path(BARRIER).iterdir():
        admitted.unlink()


def results(stage: Stage) -> list[tuple[int, str]]:
    return [(item["generation"], item["result"]) for item in stage.history()]


@pytest.mark.thorough
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
    states = (
        machine.run(["systemctl", "is-active", "deployd"]).stdout,
        machine.run(["systemctl", "is-enabled", "deployd"]).stdout,
    )
    assert states == ("active\n", "enabled\n")
    metrics = machine.run(["systemctl", "is-enabled", "deployd-metrics.socket"], check=False).stdout
    assert metrics == "disabled\n", "an open port is the administrator's decision"
    of_users = machine.run(["systemctl", "--global", "is-enabled", "deployd"], check=False).stdout
    assert of_users == "disabled\n", "a daemon of its own is each user's decision"
    machine.run(["systemctl", "start", "deployd-metrics.socket"])
    scrape = ["curl", "--silent", "--fail", "http://127.0.0.1:9967/metrics"]
    assert "\ndeployd_up 1.0\n" in machine.run(scrape).stdout
    stage = Stage(machine)
    stage.deploy("v1", routing="steered")
    with stage.load(rate=100, keepalive=2) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        unharmed(load.stop())
    assert stage.status()["ready"] == INSTANCES
    assert "deployd" in machine.run(["man", "-P", "cat", "deployd"]).stdout
    machine.run(["dpkg", "--remove", "deployd"], timeout=deb.BUILD)
    assert stage.get()["generation"] == 2, "instances need no daemon"
    assert machine.run(scrape, check=False).returncode == 7, "nothing listens any more"
    machine.run(["dpkg", "--purge", "deployd"], timeout=deb.BUILD)
    for path in ("/var/lib/deployd", "/var/cache/deployd-build"):
        assert not machine.path(path).exists()
    assert machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}*"]).stdout == ""
    assert not list(machine.path("/etc/systemd/system").rglob(f"{APP}*"))
    assert machine.path(f"/etc/deployd/apps/{APP}.toml").exists(), "the administrator's own file stays"


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_upgrades_and_downgrades_in_mid_rollout_lose_no_request_and_no_history(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    """Both restart the daemon, which continues the rollout."""
    stage = Stage(machine)
    stage.deploy("v1", routing="steered", gate={"timeout": "10min"})  # an instance waits while dpkg runs
    with stage.load(rate=100, keepalive=2) as load:
        for number, version in ((2, deb.newer(package, tmp_path, "0.2.0")), (3, package)):
            with stage.begin("rollout", "--release", stage.release(f"v{number}", barrier=True)) as begun:
                begun.until("instance", state="starting")
                deb.install(machine, version)
                stage.admit()
                assert begun.end().result == "succeeded"
            close_barrier(stage)
        unharmed(load.stop())
    assert results(stage) == SUCCEEDED


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_a_downgrade_to_an_earlier_schema_version_refuses_the_history_until_it_is_repaired(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    stage = Stage(machine)
    stage.deploy("v1", routing="steered", gate={"timeout": "10min"})
    deb.install(machine, deb.newer(package, tmp_path, "0.3.0", [VERSION]))
    with stage.load(rate=100, keepalive=2) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        with stage.begin("rollout", "--release", stage.release("v3", barrier=True)) as begun:
            begun.until("instance", state="starting")
            deb.install(machine, package)
            begun.kill()
        refused = stage.deployd("rollback", APP)
        assert refused.returncode == 1
        assert (
            f"was written by a newer deployd (schema version {VERSION + 1}; this one knows {VERSION})" in refused.stderr
        )
        stage.admit()
        assert "rebuilt" in stage.deployd("repair").stderr
        assert stage.status()["rollout"]["phase"] == "paused"
        assert stage.change("resume", "--wait").result == "succeeded"
        unharmed(load.stop())
    assert results(stage) == SUCCEEDED
    assert stage.status()["ready"] == INSTANCES
