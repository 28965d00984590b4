"""Which faults, in which order: the product of steps and kinds so that every beginning of it is spread over all of
both, then at random."""

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


@dataclass(frozen=True, slots=True)
class Walk:
    """A good rollout step by step. A `rich` one has all that there is: hooks, probes, an address that comes or goes."""

    steps: Sequence[Step]
    rich: bool = False

    def begun(self, index: int) -> bool:
        """Whether new instances have been started before this step."""
        return STARTED in (step.label for step in self.steps[:index])

    def carrier(self, number: int) -> Carrier:
        """The rollout that comes by these steps; each changes what the one before had."""
        plain = Carrier(nice=number % 2, resume=bool(number % 4 < 2))
        return replace(plain, hooks=True, probe=True, ports=1 + number % 2) if self.rich else plain


def in_turn(walk: Walk, seed: int) -> Iterator[Case]:
    """Each step with each kind, with a good release. A round has every step once, each with the kind that fits there
    and was the least often had; of several the one that fits in the fewest places."""
    steps, begun = walk.steps, [walk.begun(index) for index in range(len(walk.steps))]
    places = Counter(kind for index, step in enumerate(steps) for kind in Kind if fits(kind, step, begun[index]))
    number, had, counts = 0, set[tuple[Kind, int]](), Counter[Kind]()
    for _ in Kind:
        for index in spread(len(steps)):
            fitting = [kind for kind in Kind if fits(kind, steps[index], begun[index]) and (kind, index) not in had]
            if fitting:
                kind = min(fitting, key=lambda kind: (counts[kind], places[kind]))
                had.add((kind, index))
                counts[kind] += 1
                number += 1
                yield Case(number, kind, steps[index], walk.carrier(number), seed + number)


def spread(size: int) -> list[int]:
    """0 … size - 1 in the order of their bits reversed: every beginning is spread evenly."""
    width = max(1, (size - 1).bit_length())
    reversed_bits = (int(f"{index:0{width}b}"[::-1], 2) for index in range(1 << width))
    return [index for index in reversed_bits if index < size]


def at_random(plain: Walk, rich: Walk, seed: int) -> Iterator[Case]:
    """For ever. The same seed gives the same."""
    rng = random.Random(seed)
    for number in count(1):
        carrier = Carrier.at_random(rng)
        walk = rich if carrier.hooks or carrier.probe or carrier.ports > 1 else plain
        index = rng.randrange(len(walk.steps))
        fitting = [kind for kind in Kind if fits(kind, walk.steps[index], walk.begun(index), carrier.stays)]
        yield Case(number, rng.choice(fitting), walk.steps[index], carrier, rng.randrange(1 << 30))


def mixed(plain: Walk, rich: Walk, seed: int, turns: int) -> Iterator[Case]:
    """One round of each walk, but no more than `turns` faults; then at random."""
    rounds = chain(islice(in_turn(plain, seed), len(plain.steps)), islice(in_turn(rich, seed), len(rich.steps)))
    for number, case in enumerate(chain(islice(rounds, turns), at_random(plain, rich, seed)), 1):
        yield replace(case, index=number)
