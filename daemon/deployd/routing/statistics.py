"""The measured part of new connections that each generation got since the weights were last set."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
        self, generations: Mapping[int, int | None], weights: Mapping[int, float], counters: Mapping[int, int]
    ) -> tuple[Share, ...]:
        """Return the shares by generation, newest first. `generations`, weights (in percent) and counters are by
        instance."""
        # A counter that has decreased was reset together with its instance.
        grown = {
            number: count - before if count >= (before := self._before.get(number, 0)) else count
            for number, count in counters.items()
        }
        total = sum(grown.get(number, 0) for number in generations)
        found = []
        for generation in sorted({made for made in generations.values() if made is not None}, reverse=True):
            mine = [number for number, made in generations.items() if made == generation and number in weights]
            if mine:
                got = sum(grown.get(number, 0) for number in mine)
                seen = round(100 * got / total, 2) if total else None
                asked = round(sum(weights[number] for number in mine), 2)
                found.append(Share(generation, asked, seen, sum(counters.get(number, 0) for number in mine)))
        return tuple(found)
