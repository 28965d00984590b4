"""A package archive for a host, which has no network: what apt-get would fetch for it, in a directory with an index."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.host.debian import MINUTES, Archive
from tests.host.machine import Machine
from tests.host.root import CACHE, CHECKOUT, IN_HOST, HostRoot

KEPT = CACHE / "archives"


def archive(root: HostRoot, names: Sequence[str], build: Sequence[str]) -> Path:
    """Return a directory with packages and what they need and recommend, and with `build` and what these need."""
    status = root.lower / "var/lib/dpkg/status"
    wanted = hashlib.sha256(repr((*names, "", *build)).encode() + status.read_bytes()).hexdigest()
    directory = KEPT / root.name
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test runs download them once
        stamp = directory / "wanted"
        if stamp.exists() and stamp.read_text() == wanted:
            return directory
        shutil.rmtree(directory, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=KEPT, prefix=f"{root.name}.new.") as temporary:
            new = Path(temporary, "packages")
            new.mkdir()
            lists = Archive(root.suite, Path(temporary), status)
            for options, some in (([], names), (["--no-install-recommends"], build)):
                lists.run("apt-get", "--quiet", "--yes", *options, "--download-only", "install", *some)
            for package in Path(temporary, "cache/archives").glob("*.deb"):
                package.rename(new / package.name)
            index = ["dpkg-scanpackages", "--multiversion", "."]
            with (new / "Packages").open("w") as file:
                subprocess.run(index, cwd=new, stdout=file, stderr=subprocess.DEVNULL, check=True, timeout=60 * MINUTES)
            (new / "wanted").write_text(wanted)
            new.rename(directory)
    return directory


def use(machine: Machine, directory: Path) -> None:
    """Make this archive the only one of a host."""
    for sources in (machine.path("/etc/apt/sources.list.d"), machine.path("/etc/apt/sources.list")):
        if sources.is_dir():
            shutil.rmtree(sources)
        else:
            sources.unlink(missing_ok=True)
    inside = IN_HOST / directory.relative_to(CHECKOUT)
    machine.write("/etc/apt/sources.list.d/host.list", f"deb [trusted=yes] file:{inside} ./\n")
