"""Three hosts with the app behind HAProxy, on a subnet of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.balancer.haproxy import CHECK, CHECK_PORT, Balancer
from tests.host.machine import Machine
from tests.host.stage import APP, PORT, Stage
from tests.host.subnet import Subnet

INSTANCES = 2
"""On each host."""


@dataclass(frozen=True, slots=True)
class Site:
    """The hosts in the order in which they are rolled out."""

    subnet: Subnet
    stages: tuple[Stage, ...]
    balancer: Balancer

    def versions(self) -> list[str]:
        """Return the version that each host serves."""
        return [stage.get()["version"] for stage in self.stages]


@contextmanager
def site(hosts: list[Machine], front: Machine, check: str = CHECK, port: int = CHECK_PORT) -> Iterator[Site]:
    """Deploy v1 on `hosts`, and start HAProxy on `front` before them."""
    with ExitStack() as stack:
        subnet = stack.enter_context(Subnet.of([*hosts, front]))
        stages = tuple(Stage(host) for host in hosts)
        for stage in stages:
            stack.callback(stage.close)
            stage.machine.run(["systemctl", "start", "deployd-health.socket"])
            stack.callback(stage.machine.run, ["systemctl", "stop", "deployd-health.socket", "deployd-health.service"])
            stage.deploy("v1", listen=[f"0.0.0.0:{PORT}"], instances=INSTANCES)
        balancer = Balancer.start(front, subnet, hosts, check, port)
        stack.callback(balancer.stop)
        yield Site(subnet, stages, balancer)


def drained(stage: Stage) -> str:
    """Return the reason for which the app is drained, or "" if it is not."""
    found = stage.status()["drain"]
    return "" if found is None else str(found["reason"])


def command(stage: Stage, *argv: str) -> None:
    """Run a command of deployd for the app. Raises AssertionError if it fails."""
    done = stage.deployd(argv[0], APP, *argv[1:])
    assert done.returncode == 0, done
