"""The servers themselves, from Debian, PyPI and npm, fetched once into the cache and installed nowhere on this machine.

Python packages are for the /usr/bin/python3 of the hosts, which read them from the checkout, as they do those of npm.
Debian packages are unpacked into the host that needs them: what they would start is not wanted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.host.debian import DebianError, download
from tests.host.kept import kept
from tests.host.machine import Machine
from tests.host.root import CACHE, CHECKOUT, IN_HOST, HostRoot
from tests.servers.server import Server

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PACKAGE_JSON = Path(__file__).with_name("package.json")
KEPT = CACHE / "servers"
MINUTES = 10
"""The time that packages may take to arrive."""


class ServersError(Exception):
    """A server cannot be had."""


def fetch(server: Server) -> None:
    """Download what a server needs, if it is not in the cache. Raises ServersError, RootError, SourcesError."""
    root = server.root()
    if server.python:
        python_packages(root)
    if server.npm:
        npm_packages()
    if server.debian:
        debian_packages(root, server.debian)


def python_packages(root: HostRoot, requirements: Path = REQUIREMENTS, name: str = "python") -> Path:
    """Return a directory for PYTHONPATH with what `requirements` names for the Python of this root; `name` is that of
    the directory, without the version of Python."""
    version = _python_version(root)

    def install(directory: Path) -> None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        command += ["--target", str(directory), "--python-version", version, "--implementation", "cp"]
        command += ["--only-binary", ":all:", "--requirement", str(requirements)]
        _run(command)

    return kept(KEPT / f"{name}{version}", install, "requirements.txt", requirements.read_text())


def _python_version(root: HostRoot) -> str:
    """Return MAJOR.MINOR of /usr/bin/python3 of a root, a symlink to that version."""
    return (root.lower / "usr/bin/python3").readlink().name.removeprefix("python")


def npm_packages() -> Path:
    """Return a directory for NODE_PATH with package.json. Their scripts do not run. Raises ServersError."""
    if not shutil.which("npm"):
        raise ServersError("npm is missing, with which servers come; install Debian's package npm")

    def install(directory: Path) -> None:
        shutil.copy(PACKAGE_JSON, directory)
        _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(directory)])

    return kept(KEPT / "npm", install, PACKAGE_JSON.name, PACKAGE_JSON.read_text()) / "node_modules"


def debian_packages(root: HostRoot, names: Sequence[str]) -> list[Path]:
    """Return the packages of these names, and those that they need and the root does not have."""

    def fetch_them(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent) as work:
            try:
                for package in download(root.suite, names, Path(work), root.lower / "var/lib/dpkg/status"):
                    package.rename(directory / package.name)
            except DebianError as error:
                raise ServersError(str(error)) from error

    return sorted(kept(KEPT / root.name / "+".join(sorted(names)), fetch_them).glob("*.deb"))


def unpack(machine: Machine, packages: Sequence[Path]) -> None:
    """Unpack Debian packages into a host. Their maintainer scripts do not run."""
    for package in packages:
        inside = IN_HOST / package.relative_to(CHECKOUT)
        command = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory / --keep-directory-symlink'
        machine.run(["sh", "-c", command, "sh", str(inside)], timeout=120)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MINUTES * 60,
        check=False,
        env=os.environ,
    )
    if done.returncode:
        raise ServersError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
