"""Servers of Ruby: puma, unicorn and passenger."""

from __future__ import annotations

from typing import Any

from tests.servers.server import APPS, Server

PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
FILES = {"config.ru": APPS / "config.ru"}

PUMA = Server(
    "puma",
    "puma, rack",
    "puma",
    {"gate": {"type": "notify", "probe": {"http": "/_status"}}},
    FILES,
    "/usr/bin/puma --version",
    debian=("puma", "ruby-sd-notify"),
)
UNICORN = Server("unicorn", "unicorn, rack", "unicorn", PROBE, FILES, "/usr/bin/unicorn --version", debian=("unicorn",))
PASSENGER = Server(
    "passenger",
    "Passenger at $PORT, rack",
    "passenger",
    PROBE,
    FILES,
    "/usr/bin/passenger --version | head -n 1",
    debian=("passenger",),
    modes=("steered",),
)
SERVERS = (PUMA, UNICORN, PASSENGER)
