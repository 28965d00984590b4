"""`python -m tests.servers [NAME...] [--rollouts 20] [--mode steered]`: the table of real servers under deployd.

--evidence DIR keeps the journals of rows with failed requests, and when each of these failed.
--json FILE keeps the figures, with those of each row as soon as they are there; --markdown FILE writes docs/servers.md;
--merge FILE adds the rows of an earlier run that this one does not have.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.host.root import RootError
from tests.host.sources import SourcesError
from tests.servers import catalog, packages, page, runs
from tests.servers.proof import Pressure
from tests.servers.reloads.page import section_of, with_section
from tests.servers.result import Row

PRESSURE = Pressure(rate=60, keepalive=6, clients=2, seconds=2.0)
CONDITIONS = (
    f"{PRESSURE.rate:g} new connections a second, {PRESSURE.keepalive} clients with kept connections, "
    f"{PRESSURE.clients} each with slow responses, uploads and downloads of {PRESSURE.seconds:g} s, and "
    f"{PRESSURE.websockets} WebSockets if the server has them."
)


def main(argv: list[str]) -> int:
    options = arguments().parse_args(argv)
    if unknown := set(options.names) - set(catalog.SERVERS):
        print(f"servers: no such server: {', '.join(sorted(unknown))}; see --help", file=sys.stderr)
        return 2
    if options.fetch:
        return fetch(options.names or [name for name, server in catalog.SERVERS.items() if not server.large])
    rows: dict[tuple[str, str], Row] = {}
    for file in options.merge:
        for row in page.load(file.read_text())[0]:
            rows[row.server, row.mode] = dataclasses.replace(row, note=catalog.SERVERS[row.server].note)

    def store() -> None:
        if options.json:
            options.json.write_text(page.dump(ordered(rows.values()), CONDITIONS))

    def add(row: Row) -> None:
        rows[row.server, row.mode] = row
        store()

    missing = 0
    store()
    if options.names or not options.merge:
        wanted = runs.rows_of(options.names or list(catalog.SERVERS), options.mode)
        missing = runs.run(
            wanted, options.rollouts, options.minutes * 60, PRESSURE, options.jobs, add, options.evidence
        )
    print(page.text(ordered(rows.values())), end="")
    if options.markdown:
        kept = section_of(options.markdown.read_text()) if options.markdown.exists() else ""
        options.markdown.write_text(with_section(page.markdown(ordered(rows.values()), CONDITIONS), kept))
    bad = any(row.failed or not all(bad.stopped for bad in row.bad) for row in rows.values())
    return 1 if bad or missing else 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(catalog.SERVERS)}")
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10, help="the longest time for the good rollouts of a row")
    parser.add_argument("--mode", action="append", help="steered or shared; both, if left out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="rows that run side by side")
    parser.add_argument("--evidence", type=Path, help="a directory for the journals of rows with failed requests")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--merge", type=Path, action="append", default=[], help="a file of --json")
    parser.add_argument("--fetch", action="store_true", help="only download the servers")
    return parser


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of the catalog."""
    names = list(catalog.SERVERS)
    return sorted(rows, key=lambda row: (names.index(row.server), row.mode != "steered"))


def fetch(names: list[str]) -> int:
    try:
        for name in names:
            packages.fetch(catalog.SERVERS[name])
    except (packages.ServersError, RootError, SourcesError) as error:
        print(f"servers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
