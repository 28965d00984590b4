"""What can be chosen about the demonstration, and its command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DESCRIPTION = """\
Boots a disposable machine with a systemd of its own, deploys a small web application on it, and takes that through
good and bad releases while a load generator counts every answer. Ends with a table; fails if any request failed.
With --routing steered each instance has a socket of its own, and the kernel deals new connections out: a canary of an
exact share, and a way back to processes that stand by. Ends with a picture of who answered when.
"""
SHARED, STEERED = "shared", "steered"
RATES = {SHARED: 300.0, STEERED: 800.0}
"""Fresh connections a second. A share is measured on as many as can be had in half a minute."""
KEEPALIVE = {SHARED: 16, STEERED: 0}
"""Who still has a connection cannot stand by, and nobody tells these clients to go before SIGTERM does."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are seconds."""

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
        """How many instances must be ready at every moment."""
        return self.instances - 1 if self.in_place else self.instances


def settings_of(argv: Sequence[str]) -> Settings:
    """From the command line; what is wrong with it ends the program with status 2."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=DESCRIPTION)
    default = Settings()

    def option(name: str, of: type[int] | type[float], least: float, what: str) -> None:
        def value(text: str) -> int | float:
            number = of(text)
            if not least <= number < math.inf:
                raise argparse.ArgumentTypeError(f"{text} is less than {least:g} or no number")
            return number

        key = name.removeprefix("--").replace("-", "_")
        known = getattr(default, key)
        parser.add_argument(name, type=value, default=known, metavar="N", help=f"{what} ({known:g})")

    parser.add_argument("--routing", choices=[SHARED, STEERED], default=SHARED, help="one socket, or one each (shared)")
    option("--rate", float, 1, f"fresh connections a second, steered {RATES[STEERED]:g}")
    option("--keepalive", int, 0, f"clients that keep their connection, steered {KEEPALIVE[STEERED]}")
    parser.set_defaults(rate=None, keepalive=None)  # which of them is known when --routing is
    option("--boot", float, 0, "seconds the application takes to start")
    option("--instances", int, 1, "instances of the application")
    option("--gate", float, 0.1, "seconds an instance may take to say READY=1")
    option("--steady", float, 0.1, "seconds of steady state before, between and after the rollouts")
    option("--connections", int, 100, "steered: connections that a canary's share is measured on")
    option("--tolerance", float, 0, "steered: percentage points that the share may be off")
    option("--late", float, 0, "steered: seconds from the call of a rollback to the last bad answer")
    parser.add_argument(
        "--svg", type=Path, default=default.svg, metavar="FILE", help=f"steered: drawing ({default.svg})"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--surge", action="store_true", help="a new instance more before an old one less (the default)")
    way.add_argument("--in-place", action="store_true", help="an old instance less before a new one more")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
    given = parser.parse_args(argv)
    if given.gate <= given.boot:
        parser.error(f"--gate {given.gate:g} gives no instance the time to boot, which takes {given.boot:g} s")
    if given.in_place and given.instances < 2:
        parser.error("--in-place with a single instance leaves none to serve")
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
