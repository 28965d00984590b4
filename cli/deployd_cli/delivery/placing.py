"""Gives a release its place: RELEASES/ID, whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery import links, sources
from deployd_cli.delivery.links import Link
from deployd_cli.delivery.unpacking import unpack
from deployd_cli.delivery.workspace import taken, workspace

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
Build = Callable[[Path, Path, Path], Mapping[str, Any]]
"""(unpacked, built, release): builds a release from one directory into the other; returns its part of the receipt."""
DIGITS = 12
"""Of the SHA-256 that names a release."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A release in its place."""

    path: Path
    sha256: str | None
    """Of the archive; None if the release was there, and nothing was read."""
    new: bool
    build: Mapping[str, Any] | None = None
    """What the receipt has of its build; None if there was none."""


def place(
    source: str, revision: str, releases: Path, name: str, shared: Sequence[Link] = (), build: Build | None = None
) -> Placed:
    """Have a release in `releases`, called `name` or after its contents. One that is there already stays as it is.

    It has the links `shared`, also while `build` completes it. Raises Refused, BuildFailed and DeploydError.
    """
    if name and not ID.fullmatch(name):
        raise Refused(f"{name!r} is no name of a release: letters, digits and . _ + - are allowed, the first two first")
    with workspace(releases) as directory:
        if name and _is_release(releases / name):
            return Placed(releases / name, None, new=False)
        unpacked = directory / "unpacked"
        unpacked.mkdir()
        with sources.opened(source, revision) as stream:
            digest = unpack(stream, unpacked)
        if not any(unpacked.iterdir()):
            raise Refused(f"{source} is empty, so there is nothing to deploy")
        final = releases / (name or digest[:DIGITS])
        if _is_release(final):
            return Placed(final, digest, new=False)
        links.make(unpacked, shared)
        if build is None:
            _finish(unpacked, final)
            return Placed(final, digest, new=True)
        built = directory / "built"
        built.mkdir()
        with taken(directory, final.name):
            receipt = build(unpacked, built, final)
            links.make(built, shared)  # the build may have replaced them
            _finish(built, final)
        return Placed(final, digest, new=True, build=receipt)


def _is_release(path: Path) -> bool:
    """True if there is something in the directory: one that is empty stands for a release that is being made."""
    return path.is_dir() and any(path.iterdir())


def _finish(directory: Path, final: Path) -> None:
    """Give a release its name. Raises DeploydError."""
    os.sync()  # a power cut must not leave half a release that generations name
    try:
        directory.rename(final)
    except OSError as error:
        raise DeploydError(f"{final} cannot be made: {error.strerror}") from None


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
