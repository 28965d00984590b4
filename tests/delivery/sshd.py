"""A real sshd on a host, and the user deploy with a key for it, which is on the same host."""

from __future__ import annotations

from tests.host.machine import Machine
from tests.servers.packages import debian_packages
from tests.ssh import sshd

USER = "deploy"
KEY = "/srv/key"
SSH = f"ssh -i {KEY} -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def start(machine: Machine, options: str = "") -> None:
    """Let USER in by KEY, with these options in authorized_keys."""
    sshd.start(machine, debian_packages(machine.root, sshd.SSHD), USER)
    machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])
    let_in(machine, options)
    machine.wait_for(
        lambda: machine.run(["sh", "-c", f"{SSH} {USER}@127.0.0.1 -N -W 127.0.0.1:22 </dev/null"], check=False).stdout,
        what="sshd to listen",
    )


def let_in(machine: Machine, options: str) -> None:
    """Replace the options of KEY in authorized_keys."""
    sshd.let_in(machine, USER, f"{options} {machine.read(f'{KEY}.pub')}".lstrip())
