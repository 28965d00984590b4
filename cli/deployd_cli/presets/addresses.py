"""A loopback address for an app: one that no other app file has."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
FIRST = 8080
LARGEST = 1024 * 1024


def used(directory: Path, app: str) -> frozenset[int]:
    """Return the ports in the app files of other apps. A file that cannot be read has none."""
    ports: set[int] = set()
    for file in sorted(directory.glob("*.toml")):
        if file.stem == app:
            continue
        try:
            with file.open("rb") as opened:
                ports |= ports_of(opened.read(LARGEST).decode())
        except (OSError, UnicodeDecodeError):
            continue
    return frozenset(ports)


def ports_of(text: str) -> set[int]:
    """Return the ports in `listen` of an app file."""
    try:
        listen: Any = tomllib.loads(text).get("listen")
    except (tomllib.TOMLDecodeError, RecursionError):
        return set()
    found = [str(item).rpartition(":")[2] for item in (listen if isinstance(listen, list) else [])]
    return {int(port) for port in found if port.isascii() and port.isdecimal() and len(port) <= 5}


def free(ports: Collection[int]) -> str:
    """Return the first address whose port is not one of `ports`."""
    return f"{HOST}:{next(port for port in range(FIRST, FIRST + len(ports) + 1) if port not in ports)}"
