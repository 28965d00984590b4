"""What became of the jobs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """Jobs by their fate."""

    enqueued: int
    lost: tuple[str, ...]
    """Those that never ended."""
    twice: tuple[str, ...]
    """Those that ended more than once."""
    again: tuple[str, ...]
    """Those that began more than once: the worker of an earlier run was killed."""
    generations: tuple[str, ...]
    """The generations that did some of them."""


def counted(enqueued: int, log: Iterable[str]) -> Counted:
    """Count the jobs 1 to `enqueued` by the lines that workers have written."""
    begun, ended, generations = Counter[str](), Counter[str](), set[str]()
    for line in log:
        what, job, _, generation = line.split()
        (begun if what == "begin" else ended)[job] += 1
        generations.add(generation)
    jobs = [str(number) for number in range(1, enqueued + 1)]
    return Counted(
        enqueued,
        tuple(job for job in jobs if not ended[job]),
        tuple(job for job in jobs if ended[job] > 1),
        tuple(job for job in jobs if begun[job] > 1),
        tuple(sorted(generations, key=int)),
    )
