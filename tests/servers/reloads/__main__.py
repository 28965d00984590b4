"""`python -m tests.servers.reloads [NAME...] [--releases 5]`: how servers release by themselves, and under deployd.

--json FILE keeps the figures, row by row; --markdown FILE writes them into docs/servers.md; --merge FILE adds those of
an earlier run.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tests.host.machine import Machine
from tests.servers.proof import Pressure
from tests.servers.reloads import other_ways, page, python_ways, web_ways
from tests.servers.reloads.comparison import measure
from tests.servers.reloads.row import Row
from tests.servers.reloads.way import Way
from tests.servers.runs import FAILURES

WAYS: dict[str, Way] = {way.name: way for way in (*python_ways.WAYS, *other_ways.WAYS, *web_ways.WAYS)}
PRESSURE = Pressure(rate=60, keepalive=6, clients=1, seconds=2.0)
CONDITIONS = (
    f"{PRESSURE.rate:g} new connections a second, {PRESSURE.keepalive} clients with kept connections, and one each "
    f"with slow responses, uploads and downloads of {PRESSURE.seconds:g} s: a worker with 4 threads has one left."
)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.reloads", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--releases", type=int, default=5, help="good ones")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--merge", type=Path, action="append", default=[], help="a file of --json")
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    found = [row for file in options.merge for row in page.load(file.read_text())[0]]
    rows = {
        (row.way, row.deployd): replace(row, settings="" if row.deployd else WAYS[row.way].settings) for row in found
    }
    missing = 0
    wanted = options.names or ([] if options.merge else list(WAYS))
    with ThreadPoolExecutor(2) as pool:  # the two rows of a way run side by side, so that they have the same conditions
        begun = {
            pool.submit(row_of, WAYS[name], deployd, options.releases): f"{name}, {'deployd' if deployd else 'own way'}"
            for name in wanted
            for deployd in (False, True)
        }
        for future in as_completed(begun):
            try:
                row = future.result()
            except FAILURES as error:
                print(f"{begun[future]}: {error}", file=sys.stderr, flush=True)
                missing += 1
                continue
            print(page.text([row]), file=sys.stderr, flush=True)
            rows[row.way, row.deployd] = row
            if options.json:
                options.json.write_text(page.dump(rows.values(), CONDITIONS))
    ordered = [rows[name, deployd] for name in WAYS for deployd in (False, True) if (name, deployd) in rows]
    print(page.text(ordered), end="")
    if options.markdown:
        options.markdown.write_text(page.with_section(options.markdown.read_text(), page.section(ordered, CONDITIONS)))
    return 1 if missing else 0


def row_of(way: Way, deployd: bool, releases: int) -> Row:
    """Return a row from a host of its own."""
    with Machine.boot("deployd" if deployd else "own") as machine:
        return measure(machine, way, deployd, releases, PRESSURE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
