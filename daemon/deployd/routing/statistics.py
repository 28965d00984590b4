"""The measured part of new connections that each generation got since the weights were last set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from deployd.model.steering import Group
from deployd.routing.report import Share


class Statistics:
    """Subtracts earlier counts from the counters of the kernel, which are never reset."""

    def __init__(self) -> None:
        self._asked: object = None
        self._before: dict[int, int] = {}

    def begin(self, asked: object, counters: Callable[[], dict[int, int]]) -> None:
        """Start to count again if `asked` has changed."""
        if asked != self._asked:
            self._asked, self._before = asked, counters()

    def shares(
        self, generations: Mapping[int, int | None], groups: Iterable[Group], counters: Mapping[int, int]
    ) -> tuple[Share, ...]:
        """Return the shares by generation, newest first. `generations` and `counters` are by instance; `groups`: how
        the instances are grouped, with weights that sum up to 1."""
        # A counter that has decreased was reset together with its instance.
        grown = {
            number: count - before if count >= (before := self._before.get(number, 0)) else count
            for number, count in counters.items()
        }
        total = sum(grown.get(number, 0) for number in generations)
        asked = _asked(generations, groups)
        found = []
        for generation in sorted({made for made in generations.values() if made is not None}, reverse=True):
            mine = [number for number, made in generations.items() if made == generation]
            got = sum(grown.get(number, 0) for number in mine)
            seen = round(100 * got / total, 2) if total else None
            connections = sum(counters.get(number, 0) for number in mine)
            found.append(Share(generation, asked.get(generation, 0.0), seen, connections))
        return tuple(found)


def _asked(generations: Mapping[int, int | None], groups: Iterable[Group]) -> dict[int | None, float | None]:
    """Return the weights of generations in percent, None for one that has a group in common with another."""
    found: dict[int | None, float | None] = {}
    for group in groups:
        those = {generations[number] for number, _ in group.members if number in generations}
        for generation in those:
            before = found.get(generation, 0.0)
            found[generation] = None if len(those) > 1 or before is None else round(before + 100 * group.weight, 2)
    return found
