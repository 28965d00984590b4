"""A real sshd on a host, and the user deploy with a key for it."""

from __future__ import annotations

from tests.host.machine import Machine
from tests.servers.packages import debian_packages, unpack

USER = "deploy"
KEY = "/srv/key"
SSH = f"ssh -i {KEY} -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
CONFIG = "ListenAddress 127.0.0.1\nUsePAM no\n"


def start(machine: Machine, options: str = "") -> None:
    """Let USER in by KEY, with these options in authorized_keys."""
    unpack(machine, debian_packages(machine.root, ("openssh-server",)))
    for command in (
        "id sshd 2>/dev/null || useradd --system --home-dir /run/sshd --shell /usr/sbin/nologin sshd",
        f"usermod --password '*' {USER}",  # without a password, and not locked
        f"install -d -m 700 -o {USER} /home/{USER}/.ssh",
        f"ssh-keygen -q -t ed25519 -N '' -f {KEY}",
        "ssh-keygen -A && mkdir -p /run/sshd",
    ):
        machine.run(["sh", "-c", command])
    let_in(machine, options)
    machine.write("/etc/ssh/sshd_config", CONFIG)
    machine.run(["systemd-run", "--unit=sshd", "/usr/sbin/sshd", "-D"])
    machine.wait_for(
        lambda: machine.run(["sh", "-c", f"{SSH} {USER}@127.0.0.1 -N -W 127.0.0.1:22 </dev/null"], check=False).stdout,
        what="sshd to listen",
    )


def let_in(machine: Machine, options: str) -> None:
    """Replace the options of KEY in authorized_keys."""
    line = f"{options} {machine.read(f'{KEY}.pub')}".lstrip()
    machine.write(f"/home/{USER}/.ssh/authorized_keys", line)
    machine.run(["chown", f"{USER}:", f"/home/{USER}/.ssh/authorized_keys"])
