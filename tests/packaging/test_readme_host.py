"""README's installation, typed on machines with hardly anything, does what README says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import readme
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import CHECKOUT, SUITES, HostRoot
from tests.host.stage import INSTANCES, Stage
from tests.host.steered import unharmed
from tests.packaging.archive import archive, use

pytestmark = pytest.mark.thorough

SOURCE = "/usr/local/src/deployd"
COPY = "tar --create --exclude=__pycache__ --exclude='./.*' --exclude=./dist . | tar --extract --directory \"$1\""
TYPED = 600.0
"""Seconds that a command may take."""
PACKAGE, VENV, _ = readme.installing()
"""The last one, of a user, needs pipx and thus a network; tests/user_mode has its `deployd --user setup`."""


@pytest.fixture(params=SUITES)
def machine(request: pytest.FixtureRequest, machine_factory: MachineFactory) -> Machine:
    """A machine with what README.md takes for granted, and with the checkout."""
    root = HostRoot.minimal(request.param)
    machine = machine_factory("typed", install=False, root=root)
    use(machine, archive(root, [*_installed(VENV)], _build()))
    copy = machine.path(SOURCE)
    copy.mkdir(parents=True)
    subprocess.run(["sh", "-c", COPY, "sh", copy], cwd=CHECKOUT, check=True, timeout=TYPED)
    machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)  # of containers: starts no service
    return machine


def _installed(commands: list[str]) -> Iterator[str]:
    """Return the packages that the commands install by name."""
    for command in commands:
        if found := re.fullmatch(r"apt-get install ([^.#]*)", command):
            yield from found[1].split()


def _build() -> list[str]:
    command = [str(CHECKOUT / "packaging/deb"), "--needs"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def typed(machine: Machine, commands: list[str]) -> None:
    """Type the commands, with y as the answer to each question."""
    for command in commands:
        inside = ["sh", "-c", f"cd {SOURCE} && {command}"]
        machine.run(inside, timeout=TYPED, env={"DEBIAN_FRONTEND": "noninteractive"}, input="y\n" * 10)


def running(machine: Machine) -> None:
    """Check that deployd runs now and after a boot, and has its manual and completions."""
    states = (
        machine.run(["systemctl", "is-active", "deployd"]).stdout,
        machine.run(["systemctl", "is-enabled", "deployd"]).stdout,
    )
    assert states == ("active\n", "enabled\n")
    assert machine.run(["deployd", "status", "--json"], user="nobody").stdout
    for file in ("man/man1/deployd.1", "bash-completion/completions/deployd", "deployd/grafana/deployd.json"):
        assert any(machine.path(f"/usr/share/{file}{suffix}").exists() for suffix in ("", ".gz")), file
    explained = machine.run(["journalctl", "--list-catalog", "6291d903cfdc4ce1992cf1a387ff38d0"]).stdout
    assert "deployd" in explained


@pytest.mark.timeout(1200)
def test_the_package_is_built_and_installed(machine: Machine) -> None:
    typed(machine, PACKAGE)
    running(machine)
    refused = machine.run(["deployd", "setup"], check=False)
    assert (refused.returncode, refused.stderr) == (
        3,
        "deployd: the package that has installed this deployd has installed its system files, too\n",
    )


@pytest.mark.timeout(900)
def test_the_python_package_is_installed_updated_and_removed(machine: Machine) -> None:
    before = _tree(machine)
    typed(machine, [command for command in VENV if command.startswith("apt-get")])
    packaged = _tree(machine)
    typed(machine, [command for command in VENV if not command.startswith("apt-get")])
    running(machine)
    metrics = machine.run(["systemctl", "is-enabled", "deployd-metrics.socket"], check=False).stdout
    assert metrics == "disabled\n", "an open port is the administrator's decision"
    stage = Stage(machine)
    stage.deploy("v1", routing="steered", gate={"timeout": "10min"})  # an instance waits while pip runs
    with stage.load(rate=100, keepalive=2) as load:
        # An update restarts the daemon in the middle of a rollout, which continues.
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
            begun.until("instance", state="starting")
            unit = machine.path("/usr/lib/systemd/system/deployd.service")
            unit.write_text(unit.read_text() + "# older\n")
            typed(machine, VENV[-2:])
            stage.admit()
            assert begun.end().result == "succeeded"
        unharmed(load.stop())
    assert "# older" not in unit.read_text()
    assert stage.status()["ready"] == INSTANCES
    removed = machine.run(["/opt/deployd/bin/deployd", "setup", "--remove"]).stdout
    assert "/usr/bin: deployd\n" in removed
    assert stage.get()["generation"] == 2, "instances need no daemon"
    state = ("history.sqlite", "up/host", "up/apps/demo")  # whether load balancers may send requests is state as well
    kept = {*(f"var/lib/deployd/{name}" for name in state), "etc/deployd/apps/demo.toml"}
    assert {name for name in _tree(machine) - packaged - before if "deployd" in name} == kept
    typed(machine, VENV[-1:])
    assert [item["generation"] for item in stage.history()] == [2, 1]
    machine.run(["/opt/deployd/bin/deployd", "setup", "--remove", "--purge"])
    assert not machine.path("/var/lib/deployd").exists()
    assert machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "demo*"]).stdout == ""
    assert machine.path("/etc/deployd/apps/demo.toml").exists(), "the administrator's own file stays"


def _tree(machine: Machine) -> set[str]:
    """Return the files of the system, without those of a program below /opt and of single apps."""
    top = machine.path("/")
    places = [
        top / name for name in ("etc", "usr/bin", "usr/lib/systemd", "usr/lib/sysusers.d", "usr/share", "var/lib")
    ]
    files = (path for place in places for path in Path(place).rglob("*") if path.is_file() and not path.is_symlink())
    return {name for path in files if "/deployd/apps/demo/" not in (name := str(path.relative_to(top)))}
