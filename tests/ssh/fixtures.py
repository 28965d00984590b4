"""Three hosts with sshd, on which a user without rights may roll out one app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.attacks.service import read_rules
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import APP, Stage
from tests.servers.packages import debian_packages
from tests.ssh import sshd

USER = "alice"
NAMES = ("web1", "web2", "web3")


@pytest.fixture
def web_hosts(
    shared_machine: Machine, machine_factory: MachineFactory, host_root: HostRoot
) -> Iterator[dict[str, Stage]]:
    """Stages without an app, by the names of the hosts. USER has no key yet."""
    shared_machine.clean()
    packages = debian_packages(host_root, sshd.SSHD)
    machines = [shared_machine, *map(machine_factory, NAMES[1:])]
    found = {name: Stage(machine) for name, machine in zip(NAMES, machines, strict=True)}
    for stage in found.values():
        prepare(stage, packages)
    yield found
    for stage in found.values():
        stage.close()


def prepare(stage: Stage, packages: Sequence[Path]) -> None:
    """Start sshd, and have polkit let USER roll out APP."""
    sshd.start(stage.machine, packages, USER)
    for command in (
        "groupadd --force deploy",
        f"usermod --append --groups deploy {USER}",
        f"sed 's/shop/{APP}/g' /usr/share/deployd/examples/deploy-one-app.rules"
        f" >/etc/polkit-1/rules.d/50-deployd-{APP}.rules",
    ):
        stage.machine.run(["sh", "-c", command])
    read_rules(stage)
