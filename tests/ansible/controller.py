"""The Ansible of Debian on this machine, which reaches hosts as a user without rights."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.host.machine import Machine
from tests.host.root import CHECKOUT
from tests.ssh.client import SSH, Client, proxy

COLLECTION = CHECKOUT / "packaging/ansible"
PACKAGES = ("ansible-core", SSH)
MINUTES = 5


@dataclass(frozen=True, slots=True)
class Play:
    """What a run of ansible-playbook has printed."""

    status: int
    out: str
    recap: Mapping[str, Mapping[str, int]]
    """ok, changed, failed, rescued by host."""


class Controller:
    """Ansible below `directory`, for hosts by name, which let `user` in by `client.key`.

    `sockets` has the sockets of its connections: a short path, since that of a UNIX socket has 107 bytes (unix(7)).
    """

    def __init__(self, directory: Path, sockets: Path, user: str, hosts: Mapping[str, Machine]) -> None:
        self.client = Client(directory, PACKAGES)
        self._directory = directory
        self._sockets = sockets
        self._user = user
        self._hosts = hosts
        collections = directory / "collections/ansible_collections/deployd"
        collections.mkdir(parents=True)
        (collections / "deployd").symlink_to(COLLECTION)

    def play(self, playbook: str, *options: str) -> Play:
        """Run a playbook on all hosts of the group web, in their order."""
        book, inventory = self._directory / "play.yml", self._directory / "inventory.json"
        book.write_text(playbook)
        hosts = {name: self._variables(name, machine) for name, machine in self._hosts.items()}
        inventory.write_text(json.dumps({"web": {"hosts": hosts}}))
        packages = self.client.root / "usr/lib/python3/dist-packages"
        environment = {
            "PATH": f"{self.client.root / 'usr/bin'}:{os.environ['PATH']}",
            "HOME": str(self._directory),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(packages),
            "ANSIBLE_COLLECTIONS_PATH": str(self._directory / "collections"),
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._sockets),
            "ANSIBLE_TIMEOUT": "60",  # for a connection; by default ten seconds, which a busy machine may take
        }
        command = [
            "/usr/bin/python3",
            str(self.client.root / "usr/bin/ansible-playbook"),
            "--inventory",
            str(inventory),
        ]
        done = subprocess.run(
            [*command, *options, str(book)],
            env=environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MINUTES * 60,
            check=False,
        )
        return Play(done.returncode, done.stdout, _recap(done.stdout))

    def _variables(self, name: str, machine: Machine) -> dict[str, str]:
        command = f"ProxyCommand={proxy(machine)}"
        return {
            "ansible_host": name,  # ssh keeps a connection for each name
            "ansible_user": self._user,
            "ansible_ssh_private_key_file": str(self.client.key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F /dev/null -o UserKnownHostsFile=/dev/null -o {shlex.quote(command)}",
        }


def _recap(out: str) -> dict[str, dict[str, int]]:
    """Return the table at the end of the output."""
    lines = out.partition("PLAY RECAP")[2].splitlines()[1:]
    found = {}
    for name, _, figures in (line.partition(":") for line in lines if ":" in line):
        found[name.strip()] = {key: int(value) for key, value in (pair.split("=") for pair in figures.split())}
    return found
