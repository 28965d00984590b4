"""Which faults, in which order: the product of steps and kinds so that every beginning of it is spread over all of
both, then at random."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.torture.carrier import Carrier
from tests.torture.case import Case
from tests.torture.kinds import Kind, fits
from tests.torture.line import Step

STARTED = "reply StartUnit demo@N.service"


def in_turn(steps: Sequence[Step], seed: int) -> Iterator[Case]:
    """Each step with each kind, with a good release. A round has every step once, each with the kind that fits there
    and was the least often had."""
    begun = next((index for index, step in enumerate(steps) if step.label == STARTED), len(steps))
    number, had, counts = 0, set[tuple[Kind, int]](), Counter[Kind]()
    for _ in Kind:
        for index in spread(len(steps)):
            fitting = [kind for kind in Kind if fits(kind, steps[index], index > begun) and (kind, index) not in had]
            if fitting:
                kind = min(fitting, key=lambda kind: counts[kind])
                had.add((kind, index))
                counts[kind] += 1
                number += 1
                carrier = Carrier(nice=number % 2, resume=bool(number % 4 < 2))
                yield Case(number, kind, steps[index], carrier, seed + number)


def spread(count: int) -> list[int]:
    """0 … count - 1 in the order of their bits reversed: every beginning is spread evenly."""
    width = max(1, (count - 1).bit_length())
    reversed_bits = (int(f"{index:0{width}b}"[::-1], 2) for index in range(1 << width))
    return [index for index in reversed_bits if index < count]


def at_random(steps: Sequence[Step], seed: int, number: int) -> Iterator[Case]:
    """For ever, numbered from `number` on. The same seed gives the same."""
    rng = random.Random(seed)
    while True:
        carrier, kind, index = Carrier.at_random(rng), rng.choice(list(Kind)), rng.randrange(len(steps))
        begun = next((place for place, step in enumerate(steps) if step.label == STARTED), len(steps))
        if fits(kind, steps[index], index > begun, carrier.stays):
            yield Case(number, kind, steps[index], carrier, rng.randrange(1 << 30))
            number += 1
