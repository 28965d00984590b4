"""Runs rows of the table, several side by side, each on a host of its own: counts are right, times suffer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.host.machine import Machine, MachineError
from tests.host.root import RootError
from tests.host.sources import SourcesError
from tests.load.client import LoadError
from tests.servers import catalog, page
from tests.servers.packages import ServersError
from tests.servers.proof import Pressure, prove
from tests.servers.result import Row
from tests.servers.server import Server

FAILURES = (
    AssertionError,
    MachineError,
    RootError,
    SourcesError,
    ServersError,
    LoadError,
    OSError,
    subprocess.TimeoutExpired,
)
"""What ends one row and no other."""


def rows_of(names: Iterable[str], modes: Sequence[str] | None) -> list[tuple[Server, str]]:
    """Return the servers with each of their modes that is wanted."""
    servers = [catalog.SERVERS[name] for name in names]
    return [(server, mode) for server in servers for mode in server.modes if not modes or mode in modes]


def run(
    wanted: Sequence[tuple[Server, str]],
    rollouts: int,
    limit: float,
    pressure: Pressure,
    jobs: int,
    add: Callable[[Row], None],
    evidence: Path | None = None,
) -> int:
    """Prove the servers and call `add` with each row; return how many rows could not be had.

    `evidence` is a directory for what is known of failed requests.
    """
    missing = 0
    with ThreadPoolExecutor(jobs) as pool:
        begun: dict[Future[Row], tuple[Server, str]] = {}
        for number, (server, mode) in enumerate(wanted):
            future = pool.submit(_row, f"servers-{number}", server, mode, rollouts, limit, pressure, evidence)
            begun[future] = (server, mode)
        for future in as_completed(begun):
            server, mode = begun[future]
            try:
                row = future.result()
            except FAILURES as error:
                print(f"{server.name}, {mode}: {error}", file=sys.stderr, flush=True)
                missing += 1
            else:
                print(page.text([row]), file=sys.stderr, flush=True)
                add(row)
    return missing


def _row(
    name: str, server: Server, mode: str, rollouts: int, limit: float, pressure: Pressure, evidence: Path | None
) -> Row:
    print(f"{server.name}, {mode} ...", file=sys.stderr, flush=True)
    with Machine.boot(name, server.root()) as machine:
        return prove(machine, server, mode, rollouts, pressure, limit, evidence)
