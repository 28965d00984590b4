"""Debian packages from the mirror that this machine uses, with package lists of our own. Nothing is installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.host.sources import SourcesError, debian_sources

MINUTES = 10
"""The time that the packages may take to arrive."""
NOTHING = Path("/dev/null")


class DebianError(Exception):
    """A package cannot be had."""


class Archive:
    """The lists of a suite below `work`, as they are now. Raises DebianError."""

    def __init__(self, suite: str, work: Path, status: Path = NOTHING, architecture: str = "") -> None:
        """`status` is dpkg's list of what is installed."""
        self.work = work
        try:
            sources, options = debian_sources(suite)
        except SourcesError as error:
            raise DebianError(str(error)) from error
        for name in ("sources", "state/lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        (work / "sources" / "debian.sources").write_text(sources)
        own = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": work / "sources",
            "Dir::State": work / "state",
            "Dir::State::Status": status,
            "Dir::Cache": work / "cache",
            "APT::Sandbox::User": "root",  # another user cannot write here
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",  # nothing of this machine changes
        }
        own |= {"APT::Architecture": architecture} if architecture else {}
        (work / "apt.conf").write_text(options + "".join(f'{name} "{value}";\n' for name, value in own.items()))
        self.run("apt-get", "--quiet", "update")

    def run(self, *command: str) -> str:
        """Run a command of apt in `work`; return what it prints."""
        try:
            done = subprocess.run(
                command,
                cwd=self.work,
                env={**os.environ, "APT_CONFIG": str(self.work / "apt.conf"), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=MINUTES * 60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DebianError(str(error)) from error
        # A mirror that does not answer is only a warning of `apt-get update`; then there is no such package.
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line[:2] in {"E:", "W:"}] or [done.stderr.strip()]
            raise DebianError(f"{' '.join(command)}: {said[0]}")
        return done.stdout


def download(suite: str, names: Sequence[str], work: Path, status: Path) -> list[Path]:
    """Return packages, and what they need and `status` does not have."""
    archive = Archive(suite, work, status)
    archive.run("apt-get", "--quiet", "--yes", "--no-install-recommends", "--download-only", "install", *names)
    return sorted((work / "cache/archives").glob("*.deb"))
