"""A package archive for a host, which has no network: what apt-get would fetch for it, in a directory with an index."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.host.debian import MINUTES, Archive
from tests.host.kept import kept
from tests.host.machine import Machine
from tests.host.root import CACHE, CHECKOUT, IN_HOST, HostRoot

KEPT = CACHE / "archives"


def archive(root: HostRoot, names: Sequence[str], build: Sequence[str]) -> Path:
    """Return a directory with packages and what they need and recommend, and with `build` and what these need."""
    status = root.lower / "var/lib/dpkg/status"
    wanted = hashlib.sha256(repr((*names, "", *build)).encode() + status.read_bytes()).hexdigest()

    def fetch(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent) as work:
            lists = Archive(root.suite, Path(work), status)
            for options, some in (([], names), (["--no-install-recommends"], build)):
                lists.run("apt-get", "--quiet", "--yes", *options, "--download-only", "install", *some)
            for package in Path(work, "cache/archives").glob("*.deb"):
                package.rename(directory / package.name)
        index = ["dpkg-scanpackages", "--multiversion", "."]
        with (directory / "Packages").open("w") as file:
            subprocess.run(
                index, cwd=directory, stdout=file, stderr=subprocess.DEVNULL, check=True, timeout=60 * MINUTES
            )

    return kept(KEPT / root.name, fetch, "wanted", wanted)


def use(machine: Machine, directory: Path) -> None:
    """Make this archive the only one of a host."""
    for sources in (machine.path("/etc/apt/sources.list.d"), machine.path("/etc/apt/sources.list")):
        if sources.is_dir():
            shutil.rmtree(sources)
        else:
            sources.unlink(missing_ok=True)
    inside = IN_HOST / directory.relative_to(CHECKOUT)
    machine.write("/etc/apt/sources.list.d/host.list", f"deb [trusted=yes] file:{inside} ./\n")
