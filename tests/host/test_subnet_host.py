"""The network between hosts: they reach each other, also after a reboot, and not while the cable is cut."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.subnet import ADDRESS, ETHERNET, Subnet

SERVER = """
import socket
server = socket.create_server(("", 7000))
while True:
    client, peer = server.accept()
    with client:
        client.sendall(peer[0].encode())
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2])) as client:
    print(client.recv(64).decode())
"""


def serve(machine: Machine) -> None:
    machine.run(["systemd-run", "--unit=server", "/usr/bin/python3", "-c", SERVER])
    machine.wait_for(lambda: ":1B58 " in machine.read("/proc/1/net/tcp"), what="the server")  # port 7000


def ask(machine: Machine, address: str, timeout: float = 30.0) -> str:
    """Return the address as which the server at `address` sees this host, or nothing if it is out of reach."""
    done = machine.run(["/usr/bin/python3", "-c", CLIENT, address, str(timeout)], check=False, timeout=60)
    return done.stdout.strip()


def ethernet(subnet: Subnet) -> str:
    """Return the present address of the bridge below IP."""
    with subnet.popen(["ip", "-json", "link", "show", "bridge"], stdout=subprocess.PIPE) as listing:
        return str(json.loads(listing.communicate()[0])[0]["address"])


def test_hosts_reach_each_other(shared_machine: Machine, machine_factory: MachineFactory) -> None:
    one, two = shared_machine, machine_factory("two", install=False)
    one.clean()
    before = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
    with Subnet.of([one, two]) as subnet:
        assert (subnet.address(one), subnet.address(two)) == ("10.0.0.1", "10.0.0.2")
        serve(two)
        assert ask(one, "10.0.0.2") == "10.0.0.1"
        with subnet.connect(("10.0.0.2", 7000)) as connection:
            assert connection.recv(64).decode() == ADDRESS

        subnet.cut(two)
        assert ask(one, "10.0.0.2", 0.2) == ""
        subnet.mend(two)
        assert ask(one, "10.0.0.2") == "10.0.0.1"

        two.poweroff(clean=False)
        assert ask(one, "10.0.0.2", 0.2) == ""
        assert ethernet(subnet) == ETHERNET, "it has lost a port"
        two.start()
        assert subnet.attach(two) == "10.0.0.2"
        serve(two)
        assert ask(one, "10.0.0.2") == "10.0.0.1"
        namespace = subnet.namespace
        assert namespace.readlink() != Path("/proc/self/ns/net").readlink()
    assert not namespace.exists()
    after = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
    assert after == before, "nothing of it is in the network of this machine"
    with pytest.raises(FileNotFoundError):
        subnet.connect(("10.0.0.2", 7000))
    one.wait_for(lambda: "eth0" not in one.read("/proc/1/net/dev"), what="the end of the cable")
