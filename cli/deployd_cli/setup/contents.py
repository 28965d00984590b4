"""What an installed file says on this machine. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from deployd_cli.setup.places import Scope

COMMAND = "/usr/bin/deployd"
"""What units, D-Bus and polkit files name."""
SINCE = {"FileDescriptorStorePreserve": 254}
"""Directives in our units, with the first version of systemd that knows them. Another logs a warning at each reload."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to install."""

    source: str
    """Where it comes from; "" if it is generated."""
    destination: str
    contents: bytes
    mode: int = 0o644


def files(scope: Scope, sources: Mapping[str, bytes], systemd: int, command: str = "") -> tuple[File, ...]:
    """Return the files to install, ordered by destination.

    `command`, if there is one, is shell: `Scope.wrapper` runs it with deployd's arguments. `systemd` is a version.
    """
    found = [
        File(source, destination, adapted(sources[source], scope.wrapper, systemd))
        for source, destination in scope.destinations(sources).items()
    ]
    if command:
        found.append(File("", scope.wrapper, f'#!/bin/sh\nexec {command} "$@"\n'.encode(), 0o755))
    return tuple(sorted(found, key=lambda file: file.destination))


def adapted(contents: bytes, command: str, systemd: int) -> bytes:
    """Return the contents with another path of the command, and without directives that this systemd does not know."""
    for directive, since in SINCE.items():
        if systemd < since:
            contents = re.sub(rb"^%s=.*\n" % directive.encode(), b"", contents, flags=re.MULTILINE)
    return contents.replace(COMMAND.encode(), command.encode())


def interpreted(python: str, *, user: bool = False) -> str:
    """Return the shell command that runs deployd as installed for an interpreter, whatever directory it is called in,
    and whatever the environment is, unless it is for a user: that of a user manager is the user's own."""
    return f"{shlex.quote(python)} {'-P' if user else '-I'} -m deployd_cli"
