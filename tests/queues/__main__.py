"""`python -m tests.queues [NAME...] [--rollouts 20] [--kills 10]`: the table of queue workers under deployd.

--fetch only downloads what is needed.
"""

from __future__ import annotations

import argparse
import sys

from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import Stage
from tests.queues.catalog import DEBIAN, QUEUES, Queue
from tests.queues.counted import Counted
from tests.queues.proof import REQUIREMENTS, Proof
from tests.servers import packages

HEAD = "| workers | while | jobs | lost | run twice | begun again |\n|---|---|---|---|---|---|"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.queues", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUEUES)}")
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--fetch", action="store_true")
    options = parser.parse_args(argv)
    root = HostRoot.from_environment()
    if options.fetch:
        packages.debian_packages(root, DEBIAN)
        packages.python_packages(root, REQUIREMENTS, "queues")
        return 0
    if unknown := set(options.names) - set(QUEUES):
        parser.error(f"no such queue: {', '.join(sorted(unknown))}")
    print(HEAD, flush=True)
    bad = False
    for name in options.names or QUEUES:
        with Machine.boot("queues", root) as machine:
            bad |= not _prove(Proof(Stage(machine), QUEUES[name]), options.rollouts, options.kills)
    return 1 if bad else 0


def _prove(proof: Proof, rollouts: int, kills: int) -> bool:
    """Print the rows of a queue; True if it keeps what it promises."""
    proof.prepare()
    good = [_row(proof.queue, f"{rollouts} rollouts", proof.rollouts(rollouts))]
    good += [_row(proof.queue, f"a release that {what}", proof.bad(kind)) for kind, what in BAD.items()]
    killed = proof.killed(kills)
    _row(proof.queue, f"{kills} workers are killed", killed)
    return not any(found.lost or found.again for found in good) and (not killed.lost or not proof.queue.kept)


BAD = {"crash": "crashes", "hang": "never gets ready"}


def _row(queue: Queue, when: str, found: Counted) -> Counted:
    counts = (found.enqueued, len(found.lost), len(found.twice), len(found.again))
    print(f"| {queue.title} | {when} | {' | '.join(f'{count:,}' for count in counts)} |", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
