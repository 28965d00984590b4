"""Hosts with a real sshd, and the Ansible of Debian on this machine, which reaches them as a user without rights."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.service import read_rules
from tests.host.machine import Machine
from tests.host.root import CHECKOUT, HostRoot
from tests.host.stage import APP, Stage
from tests.servers.packages import debian_packages, unpack

USER = "alice"
COLLECTION = CHECKOUT / "packaging/ansible"
CONTROLLER = ("ansible-core", "openssh-client")
SSHD = ("openssh-server",)
SSHD_CONFIG = "ListenAddress 127.0.0.1\nUsePAM no\n"
MINUTES = 5
PIPE = "exec 3<>/dev/tcp/127.0.0.1/22; cat <&3 & exec cat >&3"
"""Commands of bash: between ssh and the sshd of a host, in the network of the host."""


@dataclass(frozen=True, slots=True)
class Play:
    """What a run of ansible-playbook has printed."""

    status: int
    out: str
    recap: Mapping[str, Mapping[str, int]]
    """ok, changed, failed, rescued by host."""


class Controller:
    """Ansible, unpacked into `directory` and installed nowhere.

    `sockets` has the sockets of its connections: a short path, since that of a UNIX socket has 107 bytes (unix(7)).
    """

    def __init__(self, directory: Path, sockets: Path) -> None:
        self._directory = directory
        self._sockets = sockets
        self._unpacked = directory / "root"
        self._unpacked.mkdir()
        for package in debian_packages(HostRoot.native(), CONTROLLER):
            subprocess.run(["dpkg-deb", "--extract", package, self._unpacked], check=True, timeout=60)
        collections = directory / "collections/ansible_collections/deployd"
        collections.mkdir(parents=True)
        (collections / "deployd").symlink_to(COLLECTION)
        self._key = directory / "key"
        keygen = [str(self._unpacked / "usr/bin/ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(keygen, check=True, timeout=60)
        self._hosts: dict[str, Machine] = {}

    def add(self, name: str, machine: Machine, packages: Sequence[Path]) -> None:
        """Have the host let USER in by the controller's key, and add it to the inventory."""
        unpack(machine, packages)
        public = self._key.with_suffix(".pub").read_text()
        for argv in (
            ["sh", "-c", "id sshd 2>/dev/null || useradd --system --home-dir /run/sshd --shell /usr/sbin/nologin sshd"],
            ["sh", "-c", f"id {USER} 2>/dev/null || useradd --create-home --shell /bin/bash {USER}"],
            ["usermod", "--password", "*", USER],  # without a password, and not locked
            ["install", "-d", "-m", "700", "-o", USER, f"/home/{USER}/.ssh"],
            ["ssh-keygen", "-A"],
            ["mkdir", "-p", "/run/sshd"],
        ):
            machine.run(argv, timeout=60)
        machine.write(f"/home/{USER}/.ssh/authorized_keys", public)
        machine.run(["chown", USER, f"/home/{USER}/.ssh/authorized_keys"])
        machine.write("/etc/ssh/sshd_config", SSHD_CONFIG)
        machine.run(["systemd-run", "--unit=sshd", "/usr/sbin/sshd", "-D"])
        self._hosts[name] = machine

    def play(self, playbook: str, *options: str) -> Play:
        """Run a playbook on all hosts of the group web, in the order in which they were added."""
        book, inventory = self._directory / "play.yml", self._directory / "inventory.json"
        book.write_text(playbook)
        hosts = {name: self._variables(name, machine) for name, machine in self._hosts.items()}
        inventory.write_text(json.dumps({"web": {"hosts": hosts}}))
        packages = self._unpacked / "usr/lib/python3/dist-packages"
        environment = {
            "PATH": f"{self._unpacked / 'usr/bin'}:{os.environ['PATH']}",
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
        command = ["/usr/bin/python3", str(self._unpacked / "usr/bin/ansible-playbook"), "--inventory", str(inventory)]
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
        proxy = "ProxyCommand=" + shlex.join(
            ["nsenter", f"--target={machine.leader_pid}", "--net", "--", "bash", "-c", PIPE]
        )
        return {
            "ansible_host": name,  # ssh keeps a connection for each name
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F /dev/null -o UserKnownHostsFile=/dev/null -o {shlex.quote(proxy)}",
        }


def _recap(out: str) -> dict[str, dict[str, int]]:
    """Return the table at the end of the output."""
    lines = out.partition("PLAY RECAP")[2].splitlines()[1:]
    found = {}
    for name, _, figures in (line.partition(":") for line in lines if ":" in line):
        found[name.strip()] = {key: int(value) for key, value in (pair.split("=") for pair in figures.split())}
    return found


def stages(machines: Sequence[Machine]) -> list[Stage]:
    """Return a stage for each host, on which APP runs v1 and may be rolled out by USER."""
    found = [Stage(machine) for machine in machines]
    for stage in found:
        stage.deploy("v1", instances=2)
        for command in (
            "groupadd --force deploy",
            f"usermod --append --groups deploy {USER}",
            f"sed 's/shop/{APP}/g' /usr/share/deployd/examples/deploy-one-app.rules"
            f" >/etc/polkit-1/rules.d/50-deployd-{APP}.rules",
        ):
            stage.machine.run(["sh", "-c", command])
        read_rules(stage)
    return found
