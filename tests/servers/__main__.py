"""`python -m tests.servers [NAME...] [--rollouts 20] [--mode steered]`: the table of real servers under deployd.

--json FILE keeps the figures; --markdown FILE writes docs/servers.md; --merge FILE adds the figures of an earlier run.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from tests.host.machine import Machine
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError
from tests.servers import catalog, packages, result
from tests.servers.proof import Pressure, prove
from tests.servers.result import Row

PRESSURE = Pressure(rate=60, keepalive=6, clients=2, seconds=2.0)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(catalog.SERVERS)}")
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--mode", action="append", help="steered or shared; both, if left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--merge", type=Path, action="append", default=[], help="a file of --json")
    parser.add_argument("--fetch", action="store_true", help="only download the servers")
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(catalog.SERVERS):
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(catalog.SERVERS)}")
    if options.fetch:
        return fetch(options.names or list(catalog.SERVERS))
    rows: list[Row] = []
    for file in options.merge:
        stored = result.load(file.read_text())[0]
        rows += [dataclasses.replace(row, note=catalog.SERVERS[row.server].note) for row in stored]
    if options.names or not options.merge:
        rows += measure(options.names or list(catalog.SERVERS), options.mode, options.rollouts)
    rows.sort(key=lambda row: (list(catalog.SERVERS).index(row.server), row.mode != "steered"))
    conditions = f"{PRESSURE.rate:g} new connections a second, {PRESSURE.keepalive} clients with kept connections, and "
    conditions += f"{PRESSURE.clients} each with slow responses, uploads and downloads of {PRESSURE.seconds:g} s."
    print(result.text(rows), end="")
    if options.json:
        options.json.write_text(result.dump(rows, conditions))
    if options.markdown:
        options.markdown.write_text(result.markdown(rows, conditions))
    return 0 if not any(row.failed or not all(bad.stopped for bad in row.bad) for row in rows) else 1


def fetch(names: list[str]) -> int:
    try:
        root = HostRoot.from_environment()
        for name in names:
            packages.fetch(root, catalog.SERVERS[name])
    except (packages.ServersError, RootError, SourcesError) as error:
        print(f"servers: {error}", file=sys.stderr)
        return 1
    return 0


def measure(names: list[str], modes: list[str] | None, rollouts: int) -> list[Row]:
    rows = []
    with Machine.boot("servers") as machine:
        for name in names:
            server = catalog.SERVERS[name]
            for mode in server.modes:
                if modes and mode not in modes:
                    continue
                print(f"{name}, {mode} ...", file=sys.stderr, flush=True)
                try:
                    rows.append(prove(machine, server, mode, rollouts, PRESSURE))
                except AssertionError as error:
                    print(f"{name}, {mode}: {error}", file=sys.stderr, flush=True)
                else:
                    print(result.text(rows[-1:]), file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
