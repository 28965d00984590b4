"""The order of faults: first the product of steps and kinds, ordered so that each prefix covers both evenly, then
random ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice

from tests.torture.carrier import Carrier
from tests.torture.case import Case
from tests.torture.kinds import Kind, fits
from tests.torture.line import Step

STARTED = "reply StartUnit demo@N.service"
IN_A_ROW = {"shared": 20, "steered": 12}
"""Consecutive faults with one routing, because changing it takes a while."""
ALIKE = 8
"""Consecutive faults with or without standby, because they need different loads."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The steps of a good rollout. A `rich` one has hooks, probes and an address that is added or removed. One with
    `back` is a rollback that thaws the instances that a plain steered one left in standby."""

    steps: Sequence[Step]
    rich: bool = False
    routing: str = "shared"
    back: bool = False

    @property
    def steered(self) -> bool:
        return self.routing == "steered"

    def begun(self, index: int) -> bool:
        """True if new instances have been started before this step."""
        return self.back or STARTED in (step.label for step in self.steps[:index])

    def carrier(self, number: int) -> Carrier:
        """Return the rollout with these steps; each one changes the settings of the one before."""
        plain = Carrier(nice=number % 2, resume=bool(number % 4 < 2), routing=self.routing)
        if self.steered and not self.rich:
            return replace(plain, standby=True, verb="rollback" if self.back else "rollout")
        return replace(plain, hooks=True, probe=True, ports=1 + number % 2) if self.rich else plain


@dataclass(frozen=True, slots=True)
class Walks:
    """The walks of one routing."""

    plain: Walk
    rich: Walk
    back: Walk | None = None

    @property
    def all(self) -> tuple[Walk, ...]:
        return (self.plain, self.rich) if self.back is None else (self.plain, self.back, self.rich)


def in_turn(walk: Walk, seed: int) -> Iterator[Case]:
    """Yield each step with each kind, with a good release.

    A round has every step once, with the kind that fits there and occurred least often; of several, the one that fits
    in the fewest places.
    """
    steps, begun = walk.steps, [walk.begun(index) for index in range(len(walk.steps))]
    fitting_at = [
        [kind for kind in Kind if fits(kind, step, begun[index], stays=walk.back, steered=walk.steered)]
        for index, step in enumerate(steps)
    ]
    places = Counter(chain.from_iterable(fitting_at))
    number, had, counts = 0, set[tuple[Kind, int]](), Counter[Kind]()
    for _ in Kind:
        for index in spread(len(steps)):
            fitting = [kind for kind in fitting_at[index] if (kind, index) not in had]
            if fitting:
                kind = min(fitting, key=lambda kind: (counts[kind], places[kind]))
                had.add((kind, index))
                counts[kind] += 1
                number += 1
                yield Case(number, kind, steps[index], walk.carrier(number), seed + number)


def spread(size: int) -> list[int]:
    """Return 0 … size - 1 in bit-reversed order, so that each prefix is spread evenly."""
    width = max(1, (size - 1).bit_length())
    reversed_bits = (int(f"{index:0{width}b}"[::-1], 2) for index in range(1 << width))
    return [index for index in reversed_bits if index < size]


def at_random(walks: Walks, seed: int) -> Iterator[Case]:
    """Yield random cases without end; the same seed gives the same cases."""
    rng = random.Random(seed)
    for number in count(1):
        steered = walks.plain.steered
        carrier = Carrier.at_random(rng, walks.plain.routing, standby=steered and number // ALIKE % 2 == 0)
        walk = walks.rich if carrier.hooks or carrier.probe or carrier.ports > 1 else walks.plain
        if walk is walks.plain and walks.back and carrier.verb == "rollback":
            walk = walks.back
        index = rng.randrange(len(walk.steps))
        step, begun = walk.steps[index], walk.begun(index)
        fitting = [kind for kind in Kind if fits(kind, step, begun, carrier.stays, steered)]
        yield Case(number, rng.choice(fitting), step, carrier, rng.randrange(1 << 30))


def mixed(routings: Sequence[Walks], seed: int, turns: int) -> Iterator[Case]:
    """Yield one round of each walk of each routing, at most `turns` faults in total, then random ones.

    The routings alternate after a few faults each.
    """
    portions = [IN_A_ROW[walks.plain.routing] for walks in routings]
    plans = [
        _rounds_and_chance(walks, seed, turns * portion // sum(portions))
        for walks, portion in zip(routings, portions, strict=True)
    ]
    rows = (islice(plan, portion) for _ in count() for plan, portion in zip(plans, portions, strict=True))
    for number, case in enumerate(chain.from_iterable(rows), 1):
        yield replace(case, index=number)


def _rounds_and_chance(walks: Walks, seed: int, turns: int) -> Iterator[Case]:
    rounds = chain.from_iterable(islice(in_turn(walk, seed), len(walk.steps)) for walk in walks.all)
    return chain(islice(rounds, turns), at_random(walks, seed))
