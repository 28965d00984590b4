"""Servers of Ruby."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.servers.server import APPS, Server

PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
FILES = {"config.ru": APPS / "config.ru"}

CLOSES = (
    "when it stops, it closes connections whose request has not arrived yet, kept ones as well: enable_keep_alives"
    " false (Puma 6.5) closes each after its response instead"
)
HANGS = (
    "With Puma's default, -t 0:5, 11 of 668 new processes hung: the thread that accepts missed the signal that others"
    " were free, and heard SIGTERM no more (Puma alone with 5 or 8 kept connections: 17 of 24 processes with 0:5, 0 of"
    " 24 with 5:5)"
)
PUMA = Server(
    "puma",
    "puma, rack",
    "puma",
    {"gate": {"type": "notify", "probe": {"http": "/_status"}}},
    FILES,
    "/usr/bin/puma --version",
    debian=("puma", "ruby-sd-notify"),
    note=f"{CLOSES}. {HANGS}",
)
PUMA6 = replace(
    PUMA, name="puma6", title="puma of Debian 13, rack", debian=("puma",), large=True, trixie=True, note=CLOSES
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
    note="it has no graceful stop: a request on a connection kept after *close_after* is cut off; take puma",
)
SERVERS = (PUMA, PUMA6, UNICORN, PASSENGER)
