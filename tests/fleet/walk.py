"""`python3 -m tests.fleet.walk [COUNT]`: random histories of the model, without end if no count is given.

Faster than hypothesis by far, hence for long runs and for mutants; what it finds is reproduced by its seed.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

from deployd_cli.fleet.goal import OnFailure
from deployd_cli.fleet.verdict import FleetState, HostState
from tests.fleet.world import Plan, World

PLANS = ("1,2", "2", "1", "3", "1,25%,50%")
WEIGHTS = {
    "act": 12.0,
    "open": 8,
    "watch": 8,
    "watch own": 6,
    "look": 6,
    "tick": 2,
    "succeed": 8,
    "fail": 1.5,
    "take back": 1,
    "kill agent": 1,
    "power off": 0.3,
    "power on": 4,
    "deadline": 1,
    "local": 0.3,
    "arrive": 12,
    "arrive, reply lost": 1,
    "lose": 0.5,
    "etcd": 0.3,
    "read": 3,
    "rollout": 1.5,
    "rollback": 0.4,
    "abort": 0.3,
    "pause": 0.2,
    "resume": 1,
    "release": 0.3,
    "forget": 0.3,
}
"""How often a move is chosen among those that are possible."""
LENGTHS = (60, 150, 400)


def walk(random: Random, **mutation: Any) -> FleetState:
    """Let a history happen and return how it ends. Raises AssertionError if an invariant does not hold.

    A `mutation` is `act` or `open` of World.
    """
    plan = Plan(
        random.choice((3, 4, 5)),
        random.choice(PLANS),
        random.choice((0, 0, 1)),
        random.choice((0.0, 2.0)),
        random.choice(tuple(OnFailure)),
    )
    world = World(plan, **mutation)
    for _ in range(random.choice(LENGTHS)):
        moves = list(world.moves())
        weights = [WEIGHTS[what] * (3 if what == "etcd" and not world.reachable else 1) for what, _ in moves]
        world.do(random.choices(moves, weights)[0])
    return assert_explained(world)


def assert_explained(world: World) -> FleetState:
    """Leave the fleet alone; it must end in one release or stand with a reason: a request of an administrator, too many
    failures, or hosts that are off."""
    found = world.settle()
    off = {name for name, host in world.hosts.items() if not host.up}
    view = world.store.everything()
    if found.state in (FleetState.WAITING, FleetState.BAKING, FleetState.ABORTING):
        assert found.waiting_for, found
        assert set(found.waiting_for) <= off, found
    elif found.state is FleetState.ROLLING:
        assert set(found.waiting_for) & off, found
    for name, host in found.hosts.items():
        if host.state is HostState.NEW:
            # A host that is off has not reported what its daemon may have taken back.
            assert name in off or world.hosts[name].daemon.live == view.hosts[name].value.release, found
        elif found.state is FleetState.DONE and view.goal is not None and name in view.goal.value.places:
            assert host.state in (HostState.FAILED, HostState.UNKNOWN), found
    return found.state


def main() -> None:
    ends: Counter[FleetState] = Counter()
    with suppress(KeyboardInterrupt):
        for seed in range(int(sys.argv[1])) if sys.argv[1:] else count():
            try:
                ends[walk(Random(seed))] += 1
            except AssertionError:
                print(f"seed {seed}:")
                raise
            if seed % 1000 == 999:
                print(f"{seed + 1} histories …", flush=True)
    print(f"{ends.total()} histories: " + ", ".join(f"{number} {state}" for state, number in ends.most_common()))


if __name__ == "__main__":
    main()
