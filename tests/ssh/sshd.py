"""A real sshd on a host, and a user who gets in with a key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.host.machine import Machine
from tests.servers.packages import unpack

SSHD = ("openssh-server",)
CONFIG = "ListenAddress 127.0.0.1\nUsePAM no\n"


def start(machine: Machine, packages: Sequence[Path], user: str) -> None:
    """Start sshd, unpacked from `packages`, with a user who has a home directory and no key yet."""
    unpack(machine, packages)
    for command in (
        "id sshd 2>/dev/null || useradd --system --home-dir /run/sshd --shell /usr/sbin/nologin sshd",
        f"id {user} 2>/dev/null || useradd --create-home --shell /bin/bash {user}",
        f"usermod --password '*' {user}",  # without a password, and not locked
        f"install -d -m 700 -o {user} /home/{user}/.ssh",
        "test -e /etc/ssh/ssh_host_ed25519_key || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key",
        "mkdir -p /run/sshd",
    ):
        machine.run(["sh", "-c", command], timeout=60)
    machine.write("/etc/ssh/sshd_config", CONFIG)
    machine.run(["systemd-run", "--unit=sshd", "/usr/sbin/sshd", "-D"])


def let_in(machine: Machine, user: str, key: str) -> None:
    """Have this line be the only one of authorized_keys."""
    home = machine.environment(user)["HOME"]
    file = f"{home}/.ssh/authorized_keys"
    machine.write(file, key)
    machine.run(["chown", f"{user}:", file])
