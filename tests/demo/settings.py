"""The settings of the demonstration, and its command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DESCRIPTION = """\
Boots a disposable machine with a systemd of its own, deploys a small web application on it, and rolls out good and bad
releases while a load generator counts every response. Ends with a table; fails if any request failed.
With --routing steered each instance has a socket of its own, and deployd controls which one gets a new connection: a
canary gets an exact share, and a rollback thaws processes in standby. Ends with a plot of the generations' shares.
"""
SHARED, STEERED = "shared", "steered"
RATES = {SHARED: 300.0, STEERED: 800.0}
"""New connections per second. A share is measured on those of about half a minute."""
KEEPALIVE = {SHARED: 16, STEERED: 0}
"""Clients with persistent connections. An instance with open connections cannot be frozen."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings. Times are in seconds."""

    rate: float = RATES[SHARED]
    keepalive: int = KEEPALIVE[SHARED]
    boot: float = 1.0
    instances: int = 4
    gate: float = 5.0
    steady: float = 5.0
    in_place: bool = False
    as_json: bool = False
    routing: str = SHARED
    connections: int = 20_000
    tolerance: float = 0.5
    late: float = 0.1
    svg: Path = Path("build/demo-steered.svg")

    @property
    def floor(self) -> int:
        """The number of instances that must be ready at any time."""
        return self.instances - 1 if self.in_place else self.instances


def settings_of(argv: Sequence[str]) -> Settings:
    """Parse the command line; exit with status 2 if it is invalid."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=DESCRIPTION)
    default = Settings()

    def option(name: str, of: type[int] | type[float], least: float, what: str) -> None:
        def value(text: str) -> int | float:
            number = of(text)
            if not least <= number < math.inf:
                raise argparse.ArgumentTypeError(f"{text} is less than {least:g} or not a number")
            return number

        key = name.removeprefix("--").replace("-", "_")
        known = getattr(default, key)
        parser.add_argument(name, type=value, default=known, metavar="N", help=f"{what} ({known:g})")

    parser.add_argument(
        "--routing",
        choices=[SHARED, STEERED],
        default=SHARED,
        help="one socket for all instances, or one each (shared)",
    )
    option("--rate", float, 1, f"new connections per second, steered {RATES[STEERED]:g}")
    option("--keepalive", int, 0, f"clients with persistent connections, steered {KEEPALIVE[STEERED]}")
    parser.set_defaults(rate=None, keepalive=None)  # the defaults depend on --routing
    option("--boot", float, 0, "seconds the application takes to start")
    option("--instances", int, 1, "instances of the application")
    option("--gate", float, 0.1, "seconds an instance may take to send READY=1")
    option("--steady", float, 0.1, "seconds of steady state before, between and after the rollouts")
    option("--connections", int, 100, "steered: connections on which the share of a canary is measured")
    option("--tolerance", float, 0, "steered: tolerance of the share in percentage points")
    option("--late", float, 0, "steered: seconds from the request of a rollback to the last bad response")
    parser.add_argument(
        "--svg", type=Path, default=default.svg, metavar="FILE", help=f"steered: file for the plot ({default.svg})"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--surge", action="store_true", help="start a new instance before stopping an old one (default)")
    way.add_argument("--in-place", action="store_true", help="stop an old instance before starting a new one")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
    given = parser.parse_args(argv)
    if given.gate <= given.boot:
        parser.error(f"--gate {given.gate:g} is too short for an instance to boot, which takes {given.boot:g} s")
    if given.in_place and given.instances < 2:
        parser.error("--in-place needs at least two instances, so that one can serve")
    return Settings(
        rate=RATES[given.routing] if given.rate is None else given.rate,
        keepalive=KEEPALIVE[given.routing] if given.keepalive is None else given.keepalive,
        boot=given.boot,
        instances=given.instances,
        gate=given.gate,
        steady=given.steady,
        in_place=given.in_place,
        as_json=given.json,
        routing=given.routing,
        connections=given.connections,
        tolerance=given.tolerance,
        late=given.late,
        svg=given.svg,
    )
