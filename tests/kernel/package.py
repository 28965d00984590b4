"""Debian's kernels: one image and the few modules that the tests need, unpacked from the package into the cache.

Nothing is installed on the machine. What is in the cache needs no network.
"""

from __future__ import annotations

import fcntl
import lzma
import platform
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.host.debian import MINUTES, Archive, DebianError
from tests.host.root import CACHE

SUITES = {"6.1": "bookworm", "6.12": "trixie"}
METAPACKAGE = "linux-image-cloud-amd64"
MODULES = ("inet_diag", "tcp_diag", "unix_diag")
"""In the order in which they are loaded: sock_diag(7) is built as modules."""


class KernelError(Exception):
    """The kernel cannot be had or booted."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache."""

    version: str
    directory: Path

    @property
    def image(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def modules(self) -> list[Path]:
        """Return the modules in the order in which they are loaded."""
        return [self.directory / f"{name}.ko" for name in MODULES]


def fetch(version: str) -> Kernel:
    """Return the kernel of this version, a key of SUITES; download it if it is not in the cache (27 MB). Raises
    KernelError."""
    if version not in SUITES:
        raise KernelError(f"KERNEL={version}: there are only {' and '.join(SUITES)}")
    if platform.machine() != "x86_64":
        raise KernelError(f"kernels are booted on x86-64 only, and this machine is {platform.machine()}")
    kept = CACHE / "kernel"
    kept.mkdir(parents=True, exist_ok=True)
    found = Kernel(version, kept / version)
    with (kept / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test runs download it once
        if not found.directory.is_dir():
            for leftover in kept.glob(f"{version}.new*"):
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(dir=kept, prefix=f"{version}.new.") as temporary:
                _unpack(_download(SUITES[version], Path(temporary)), Path(temporary) / "kernel")
                (Path(temporary) / "kernel").rename(found.directory)
    return found


def _download(suite: str, work: Path) -> Path:
    """Return the package."""
    try:
        archive = Archive(suite, work / "apt", architecture="amd64")
        shown = archive.run("apt-cache", "show", "--no-all-versions", METAPACKAGE)
        [package] = [line.split()[1].rstrip(",") for line in shown.splitlines() if line.startswith("Depends: ")]
        archive.run("apt-get", "--quiet", "download", package)
    except DebianError as error:
        raise KernelError(f"cannot download Debian's kernel: {error}") from error
    [found] = (work / "apt").glob("*.deb")
    return found


def _unpack(package: Path, directory: Path) -> None:
    archive = package.with_suffix(".tar")
    with archive.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=file, check=True, timeout=MINUTES * 60)
    directory.mkdir()
    with tarfile.open(archive) as members:
        for member in members:
            path, content = Path(member.name), members.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if path.name.startswith("vmlinuz-"):
                (directory / "vmlinuz").write_bytes(content.read())
            elif path.name in {f"{name}.ko" for name in MODULES}:
                (directory / path.name).write_bytes(content.read())
            elif path.name in {f"{name}.ko.xz" for name in MODULES}:
                (directory / path.stem).write_bytes(lzma.decompress(content.read()))
    wanted = {"vmlinuz", *(f"{name}.ko" for name in MODULES)}
    if missing := wanted - {path.name for path in directory.iterdir()}:
        raise KernelError(f"{package.name} has no {' and no '.join(sorted(missing))}")
