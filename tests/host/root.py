"""The root from which a host is made: the machine's own `/`, or an unpacked Debian, such as trixie with systemd 257.

Each is the lower, unchanged layer of an overlay. Other roots than `/` are built on demand in the checkout's cache, from
the package sources that this machine uses, with the suite replaced.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.host.sources import codename, debian_sources

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache"
IN_HOST = Path("/usr/src/deployd")
SYSTEM_PYTHON = Path("/usr/bin/python3")

TRIXIE = "trixie"
SUITES = ("bookworm", TRIXIE)
"""The Debian releases that deployd supports."""
PACKAGES = (
    "systemd,systemd-sysv,libpam-systemd,dbus,dbus-user-session,polkitd,iproute2,procps,util-linux,python3,python3-dbus-next,"
    "python3-systemd,python3-jinja2,python3-typer,python3-prometheus-client,python3-httpx,python3-pytest,gunicorn,ruby,"
    "nodejs,gccgo,bash-completion,curl,man-db"
)
MINIMAL = "systemd-sysv,dbus,make,python3"
"""What README.md takes for granted, and what makes it a machine with systemd."""


class RootError(Exception):
    """This machine cannot provide the requested root."""


@dataclass(frozen=True, slots=True)
class HostRoot:
    """A lower layer with the Python that runs deployd."""

    name: str
    lower: Path
    python: Path
    python_path: tuple[Path, ...]
    suite: str
    """The Debian release of the root."""

    @classmethod
    def native(cls) -> HostRoot:
        """Return the machine's own root, with the interpreter and the packages of the checkout's .venv."""
        packages = sorted((CHECKOUT / ".venv/lib").glob("python3.*/site-packages"))
        inside = tuple(IN_HOST / found.relative_to(CHECKOUT) for found in packages)
        return cls("native", Path("/"), _base_interpreter(), (*_SOURCES, *inside), codename())

    @classmethod
    def trixie(cls) -> HostRoot:
        """Return Debian trixie with its own Python and packages; build it if necessary (half a minute)."""
        return cls(TRIXIE, _debian(TRIXIE, TRIXIE, PACKAGES), SYSTEM_PYTHON, _SOURCES, TRIXIE)

    @classmethod
    def minimal(cls, suite: str) -> HostRoot:
        """Return a Debian with hardly anything; build it if necessary (half a minute)."""
        name = f"minimal-{suite}"
        return cls(name, _debian(name, suite, MINIMAL), SYSTEM_PYTHON, (), suite)

    @classmethod
    def from_environment(cls) -> HostRoot:
        """Return the root that HOST names, the native one by default."""
        name = os.environ.get("HOST") or "native"
        match name:
            case "native":
                return cls.native()
            case "trixie":
                return cls.trixie()
        raise RootError(f"HOST={name}: there are only native and trixie")


_SOURCES = (IN_HOST / "daemon", IN_HOST / "cli")


def _base_interpreter() -> Path:
    """Return the base interpreter of .venv, which is outside of the checkout, so that the host has it too."""
    settings = CHECKOUT / ".venv/pyvenv.cfg"
    if settings.exists():
        pairs = (line.partition("=") for line in settings.read_text().splitlines())
        values = {key.strip(): value.strip() for key, _, value in pairs}
        for found in (Path(values.get("executable", "/nonexistent")), Path(values["home"]) / "python3"):
            if found.exists():
                return found
    base: str = getattr(sys, "_base_executable", sys.executable)
    return Path(base).resolve()


def _debian(name: str, suite: str, packages: str) -> Path:
    """Return the directory of an unpacked suite with these packages, separated by commas."""
    root = CACHE / f"{name}-root"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test runs build it once
        wanted = f"{packages}\n"
        stamp = CACHE / f"{root.name}.stamp"
        if root.is_dir() and stamp.exists() and stamp.read_text() == wanted:
            return root
        stamp.unlink(missing_ok=True)
        for leftover in (root, *CACHE.glob(f"{root.name}.new*")):
            shutil.rmtree(leftover, ignore_errors=True)
        _build(root, suite, packages)
        stamp.write_text(wanted)
    return root


def _build(root: Path, suite: str, packages: str) -> None:
    if not shutil.which("mmdebstrap"):
        raise RootError(f"a root of {suite} needs mmdebstrap (packaging/bootstrap installs it)")
    sources, options = debian_sources(suite)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f"{root.name}.new.") as temporary:
        work = Path(temporary)
        work.chmod(0o755)
        (work / "debian.sources").write_text(sources)
        (work / "apt.conf").write_text(options)
        command = ["unshare", "--mount", "--propagation", "private", "--"]  # its mounts end with it
        command += ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", f"--include={packages}"]
        command += [f"--aptopt={work / 'apt.conf'}", "--dpkgopt=path-exclude=/usr/share/doc/*"]
        command += [suite, str(work / "root"), str(work / "debian.sources")]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
        )
        if done.returncode:
            raise RootError(f"mmdebstrap failed with status {done.returncode}:\n{done.stderr}")
        (work / "root").rename(root)
