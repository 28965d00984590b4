"""The servers themselves, from Debian, PyPI and npm, fetched once into the cache and installed nowhere on this machine.

Python packages are for the /usr/bin/python3 of the hosts, which read them from the checkout, as they do those of npm.
Debian packages are unpacked into the host that needs them: what they would start is not wanted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.host.debian import DebianError, download
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
    target = KEPT / f"{name}{version}"
    wanted = requirements.read_text()
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test runs fetch them once
        stamp = target / "requirements.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            return target
        shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=KEPT, prefix=f"{name}{version}.new.") as temporary:
            command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            command += ["--target", f"{temporary}/all", "--python-version", version, "--implementation", "cp"]
            command += ["--only-binary", ":all:", "--requirement", str(requirements)]
            _run(command)
            shutil.copy(requirements, f"{temporary}/all/{stamp.name}")
            Path(temporary, "all").rename(target)
    return target


def _python_version(root: HostRoot) -> str:
    """Return MAJOR.MINOR of /usr/bin/python3 of a root, a symlink to that version."""
    return (root.lower / "usr/bin/python3").readlink().name.removeprefix("python")


def npm_packages() -> Path:
    """Return a directory for NODE_PATH with package.json. Their scripts do not run. Raises ServersError."""
    if not shutil.which("npm"):
        raise ServersError("npm is missing, with which servers come; install Debian's package npm")
    target = KEPT / "npm"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = target / PACKAGE_JSON.name
        if not stamp.exists() or stamp.read_text() != PACKAGE_JSON.read_text():
            shutil.rmtree(target, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=KEPT, prefix="npm.new.") as temporary:
                new = Path(temporary, "all")
                new.mkdir()
                shutil.copy(PACKAGE_JSON, new)
                _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(new)])
                new.rename(target)
    return target / "node_modules"


def debian_packages(root: HostRoot, names: Sequence[str]) -> list[Path]:
    """Return the packages of these names, and those that they need and the root does not have."""
    directory = KEPT / root.name / "+".join(sorted(names))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f"{directory.name}.new.") as temporary:
                kept = Path(temporary, "packages")
                kept.mkdir()
                try:
                    for package in download(root.suite, names, Path(temporary), root.lower / "var/lib/dpkg/status"):
                        package.rename(kept / package.name)
                except DebianError as error:
                    raise ServersError(str(error)) from error
                kept.rename(directory)
    return sorted(directory.glob("*.deb"))


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
