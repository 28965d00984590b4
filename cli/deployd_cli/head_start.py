"""A head start for `deployd rollback`: while it is still being imported, what stands by is called back.

Python needs longer to read a D-Bus library than the daemon needs to move the connections away from a bad release. So a
way back begins with one call, Recall(), of a program that every systemd machine has. It is a hint: it changes nothing
that the rollback would not, nobody waits for it, and what comes of it is told by the rollback itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

BUSCTL = "/usr/bin/busctl"
QUIET = frozenset({"--json", "--no-block"})
"""Options that do not change where a rollback leads."""


def call(arguments: Sequence[str]) -> tuple[str, ...] | None:
    """The command that calls back what `deployd ARGUMENTS` is going to need, or None if there is none. Pure."""
    verb, *rest = arguments or [""]
    words = [word for word in rest if word not in QUIET]
    if verb != "rollback" or len(words) != 1 or words[0].startswith("-"):
        return None  # --to, --supersede and so on are read by who knows them
    path = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 and (at or not chr(byte).isdigit()) else f"_{byte:02x}"
        for at, byte in enumerate(os.fsencode(words[0]))
    )  # sd_bus_path_encode(3)
    target = ("org.deployd1", f"/org/deployd1/app/{path or '_'}", "org.deployd1.App", "Recall", "t", "0")
    # It waits for the reply: the daemon asks the bus who calls, and of one that is gone nobody knows.
    return (BUSCTL, "--system", "--quiet", "call", *target)


def take(arguments: Sequence[str]) -> None:
    """Take it, as root: others are asked by polkit first, and once."""
    command = call(arguments)
    if command is None or os.geteuid() != 0 or not os.access(BUSCTL, os.X_OK):
        return
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    os.posix_spawn(BUSCTL, command, os.environ, file_actions=null)
