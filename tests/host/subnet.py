"""A network of hosts: a bridge in a network namespace of its own, with a cable (a veth pair) to each host.

The bridge is ADDRESS; the hosts are 10.0.0.1, 10.0.0.2 … in the order in which they were attached. Nothing of it is in
the network of this machine, and all of it ends with the subnet, or with the process that created it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.host.link import MachineError
from tests.host.machine import Machine
from tests.host.network import Connection, connect
from tests.host.process import wait_end

ADDRESS = "10.0.0.254"
BITS = 24
ETHERNET = "02:00:00:00:00:fe"
"""The address of the bridge below IP."""
INTERFACE = "eth0"
"""The name of a host's end of its cable."""
TIMEOUT = 30.0


class Subnet:
    """Hosts that reach each other. Create it with `Subnet.of`; it is a context manager that removes it."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self._holder = holder
        self._numbers: dict[str, int] = {}

    @classmethod
    def of(cls, machines: Iterable[Machine] = ()) -> Subnet:
        """Create a subnet and attach `machines` in this order."""
        # The namespace lives as long as this process, which ends with its creator or with its input.
        command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--", "sh", "-c", "echo; exec cat"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        subnet = cls(holder)
        try:
            if holder.stdout is None or not holder.stdout.readline():
                raise MachineError("a network namespace cannot be created")
            subnet._ip("link", "set", "lo", "up")
            # A bridge without an address of its own takes the lowest of its ports: with that port it would lose the
            # address under which hosts know it, and they would not reach it for seconds.
            subnet._ip("link", "add", "bridge", "address", ETHERNET, "type", "bridge")
            subnet._ip("address", "add", f"{ADDRESS}/{BITS}", "dev", "bridge")
            subnet._ip("link", "set", "bridge", "up")
            for machine in machines:
                subnet.attach(machine)
        except BaseException:
            subnet.remove()
            raise
        return subnet

    def __enter__(self) -> Subnet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the bridge and all cables; do nothing if that has been done."""
        for pipe in (self._holder.stdin, self._holder.stdout):
            if pipe:
                pipe.close()
        wait_end(self._holder, TIMEOUT)

    @property
    def namespace(self) -> Path:
        """The network namespace with the bridge."""
        return Path(f"/proc/{self._holder.pid}/ns/net")

    def attach(self, machine: Machine) -> str:
        """Connect a host that runs, and return its address. After a reboot it must be attached again: its address stays
        the same."""
        number = self._numbers.setdefault(machine.name, len(self._numbers) + 1)
        port = f"port{number}"
        self._ip("link", "delete", port, check=False)  # of a host whose network namespace has not quite ended
        # The same after a reboot, because neighbours remember it.
        ethernet = f"02:00:00:00:00:{number:02x}"
        peer = ["name", INTERFACE, "address", ethernet, "netns", str(machine.leader_pid)]
        self._ip("link", "add", port, "type", "veth", "peer", *peer)
        self._ip("link", "set", port, "master", "bridge", "up")
        own = machine.network_namespace
        _run(own, "ip", "address", "add", f"{self.address(machine)}/{BITS}", "dev", INTERFACE)
        _run(own, "ip", "link", "set", INTERFACE, "up")
        return self.address(machine)

    def address(self, machine: Machine) -> str:
        """Return the address of a host that has been attached."""
        return f"10.0.0.{self._numbers[machine.name]}"

    def cut(self, machine: Machine) -> None:
        """Disconnect a host: what is sent to it and by it is lost."""
        self._ip("link", "set", f"port{self._numbers[machine.name]}", "down")

    def mend(self, machine: Machine) -> None:
        """Connect a host again after `cut`."""
        self._ip("link", "set", f"port{self._numbers[machine.name]}", "up")

    def connect(self, address: tuple[str, int], timeout: float = TIMEOUT) -> Connection:
        """Open a TCP connection from ADDRESS."""
        return connect(self.namespace, address, timeout)

    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command of this machine in the namespace of the bridge: its connections come from ADDRESS."""
        enter = ["nsenter", f"--net={self.namespace}", "--", "setpriv", "--pdeathsig", "KILL", "--"]
        return subprocess.Popen([*enter, *argv], env=env, **({"text": True, "stdin": subprocess.DEVNULL} | options))

    def _ip(self, *argv: str, check: bool = True) -> None:
        _run(self.namespace, "ip", *argv, check=check)


def _run(namespace: Path, *argv: str, check: bool = True) -> None:
    command = ["nsenter", f"--net={namespace}", "--", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if check and done.returncode:
        raise MachineError(f"{' '.join(argv)}: {done.stderr.strip()}")
