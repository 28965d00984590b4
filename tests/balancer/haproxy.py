"""HAProxy, from Debian, on a host of its own in front of others, and what it says of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from tests.host.machine import Machine
from tests.host.network import connect_unix
from tests.host.root import IN_HOST, HostRoot
from tests.host.stage import APP, PORT
from tests.host.subnet import Subnet
from tests.load.client import Load
from tests.servers.packages import debian_packages, unpack

PACKAGES = ("haproxy",)
CHECK = f"option httpchk GET /{APP}"
CHECK_PORT = 9968
INTERVAL = "100ms"
UP, DOWN, NO_NEW = "UP", "DOWN", "NOLB"
"""States of a server. NOLB is that of `http-check disable-on-404`: no new clients, but those that stick to it."""
SOCKET = "/run/haproxy.sock"
UNIT = "haproxy.service"
# Nothing is sent a second time, so that each request that fails is counted.
CONFIG = f"""\
global
    stats socket {SOCKET} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 10s
    retries 0
    option http-server-close
frontend {APP}
    bind :{PORT}
    default_backend {APP}
backend {APP}
    balance roundrobin
"""


@dataclass(frozen=True, slots=True)
class Balancer:
    """HAProxy on `machine`, at port PORT there, in front of servers of the hosts' names."""

    machine: Machine
    hosts: tuple[str, ...]

    @classmethod
    def start(
        cls, machine: Machine, subnet: Subnet, hosts: Sequence[Machine], check: str = CHECK, port: int = CHECK_PORT
    ) -> Balancer:
        """Start HAProxy on a host of the subnet, and wait until it has found all `hosts` up."""
        unpack(machine, debian_packages(HostRoot.native(), PACKAGES))
        lines = [f"    {line}\n" for line in check.splitlines()]
        for host in hosts:
            how = f"check port {port} inter {INTERVAL} fall 1 rise 1"
            lines.append(f"    server {host.name} {subnet.address(host)}:{PORT} {how}\n")
        machine.write("/etc/haproxy/haproxy.cfg", CONFIG + "".join(lines))
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "start", UNIT])
        balancer = cls(machine, tuple(host.name for host in hosts))
        balancer.wait(**dict.fromkeys(balancer.hosts, UP))
        return balancer

    def states(self) -> dict[str, str]:
        """Return the state of each server by the name of its host."""
        # "UP 1/2" while a check has failed that does not count yet.
        return {name: row["status"].split()[0] for name, row in self._rows().items()}

    def outages(self) -> dict[str, int]:
        """Return how often the check of each server has taken it out."""
        return {name: int(row["chkdown"]) for name, row in self._rows().items()}

    def _rows(self) -> dict[str, dict[str, str]]:
        with connect_unix(self.machine.path(SOCKET), 30) as connection:
            connection.sendall(b"show stat\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        rows = csv.DictReader(io.StringIO(answer.removeprefix("# ")))
        return {row["svname"]: row for row in rows if row["svname"] in self.hosts}

    def wait(self, **states: str) -> None:
        """Wait until servers have these states."""

        def reached() -> bool:
            found = self.states()
            return all(found.get(name) == state for name, state in states.items())

        self.machine.wait_for(reached, 60, f"HAProxy to see {states}")

    def load(self, rate: float, keepalive: int) -> Load:
        """Start a load on the balancer's host and wait until it has warmed up."""
        return Load.start(
            self.machine.popen, PORT, rate, keepalive, python="/usr/bin/python3", env={"PYTHONPATH": str(IN_HOST)}
        )

    def stop(self) -> None:
        """Stop HAProxy."""
        self.machine.run(["systemctl", "stop", UNIT])
