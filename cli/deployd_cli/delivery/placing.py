"""Gives a release its place: RELEASES/ID, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery import sources
from deployd_cli.delivery.unpacking import unpack

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
ROOT = 0
DIGITS = 12
"""Of the SHA-256 that names a release."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A release in its place."""

    path: Path
    sha256: str | None
    """Of the archive; None if the release was there, and nothing was read."""
    new: bool


def place(source: str, revision: str, releases: Path, name: str) -> Placed:
    """Have a release in `releases`, called `name` or after its contents. One that is there already stays as it is.

    Raises Refused and DeploydError.
    """
    if name and not ID.fullmatch(name):
        raise Refused(f"{name!r} is no name of a release: letters, digits and . _ + - are allowed, the first two first")
    _require_trusted(releases)
    if name and (releases / name).is_dir():
        return Placed(releases / name, None, new=False)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".deploy-", dir=releases))
    except OSError as error:
        raise DeploydError(f"{releases} cannot be written: {error.strerror}; deploy as the user who owns it") from None
    try:
        with sources.opened(source, revision) as stream:
            digest = unpack(stream, temporary)
        if not any(temporary.iterdir()):
            raise Refused(f"{source} is empty, so there is nothing to deploy")
        final = releases / (name or digest[:DIGITS])
        if final.is_dir():
            return Placed(final, digest, new=False)
        temporary.chmod(0o755)
        os.sync()  # a power cut must not leave half a release that generations name
        try:
            temporary.rename(final)
        except OSError as error:
            raise DeploydError(f"{final} cannot be made: {error.strerror}") from None
        return Placed(final, digest, new=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_trusted(releases: Path) -> None:
    """Raise Refused if root would write where another user could replace a directory by a link meanwhile."""
    if os.geteuid() != ROOT:
        return
    try:
        for directory in (found := releases.resolve(strict=True), *found.parents):
            info = directory.stat()
            others = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid != ROOT)
            if info.st_uid != ROOT or (others and not info.st_mode & stat.S_ISVTX):
                raise Refused(
                    f"{directory} can be changed by another user than root; deploy as that user, or give it to root"
                )
    except OSError as error:
        raise DeploydError(f"{releases} cannot be used: {error.strerror}; name a directory that exists") from None


def point(link: Path, release: Path) -> None:
    """Have a symbolic link lead to a release, atomically. Raises Refused if something else has its name, and
    DeploydError."""
    if link.exists() and not link.is_symlink():
        raise Refused(f"{link} is no symbolic link; remove it, or name another")
    temporary = link.with_name(f".{link.name}.{release.name}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(release)
        temporary.replace(link)
    except OSError as error:
        raise DeploydError(f"{link} cannot lead to {release}: {error.strerror}") from None
