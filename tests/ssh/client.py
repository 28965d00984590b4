"""What reaches hosts over ssh from this machine: a key, and a way into the network of each host."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.servers.packages import debian_packages

SSH = "openssh-client"
PIPE = "exec 3<>/dev/tcp/127.0.0.1/22; cat <&3 & cat >&3; kill $!"
"""Commands of bash: between ssh and the sshd of a host, in the network of the host, until ssh ends."""


class Client:
    """Programs of Debian, unpacked into `directory` and installed nowhere, and a key for ssh."""

    def __init__(self, directory: Path, packages: Sequence[str]) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        for package in debian_packages(HostRoot.native(), packages):
            subprocess.run(["dpkg-deb", "--extract", package, self.root], check=True, timeout=60)
        self.key = directory / "key"
        keygen = [str(self.root / "usr/bin/ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)]
        subprocess.run(keygen, check=True, timeout=60)

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text()


def proxy(machine: Machine) -> str:
    """Return the command through which ssh reaches the sshd of a host."""
    return shlex.join(["nsenter", f"--target={machine.leader_pid}", "--net", "--", "bash", "-c", PIPE])
