"""Provides Debian's programs with which the bench compares deployd (nginx, HAProxy) and makes load (wrk).

They are downloaded once, with their dependencies that this machine lacks, and unpacked into the checkout's cache, which
the host sees; afterwards no network is needed. They are not installed like the packages of packaging/bootstrap, because
an installed nginx would run on port 80 of the machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.host.root import CACHE, CHECKOUT, IN_HOST

PACKAGES = ("nginx", "haproxy", "wrk")
TREE = CACHE / "bench-programs"
TIMEOUT = 600


class ProgramsError(Exception):
    """The programs cannot be provided."""


def provide() -> None:
    """Download the programs into the cache. Raises ProgramsError."""
    TREE.parent.mkdir(exist_ok=True)
    with TREE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs in one checkout download once
        stamp = TREE.with_suffix(".stamp")
        wanted = " ".join(PACKAGES) + "\n"
        if TREE.is_dir() and stamp.exists() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(TREE, ignore_errors=True)
        _unpack(TREE)
        stamp.write_text(wanted)


def command(name: str) -> list[str]:
    """Return the beginning of the command line that runs one of them on the host."""
    tree = IN_HOST / TREE.relative_to(CHECKOUT)
    found = next((path for folder in ("usr/sbin", "usr/bin") if (path := TREE / folder / name).exists()), None)
    if found is None:
        raise ProgramsError(f"there is no {name} in {TREE}")
    libraries = ":".join(str(tree / path.relative_to(TREE)) for path in sorted(TREE.glob("usr/lib/*-linux-*")))
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={libraries}", str(tree / found.relative_to(TREE))]


def _unpack(tree: Path) -> None:
    archives = tree / "archives"
    (archives / "partial").mkdir(parents=True)
    # --reinstall downloads installed packages, too, for a host made from another root.
    download = ["apt-get", "-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={archives}", "--quiet", "--yes"]
    download += ["--no-install-recommends", "--download-only", "--reinstall", "install", *PACKAGES]
    try:
        _run(download)
    except ProgramsError:  # no package lists, or outdated ones
        _run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "--quiet", "update"])
        _run(download)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(tree)])
    shutil.rmtree(archives)


def _run(argv: Sequence[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramsError(f"{argv[0]}: {error}") from error
    if done.returncode:
        raise ProgramsError(f"{', '.join(PACKAGES)} cannot be provided: {' '.join(argv)}: {done.stderr.strip()}")
