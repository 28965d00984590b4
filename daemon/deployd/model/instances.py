"""The instances of an app as one value, with an index that is kept from one observation to the next.

An app of a thousand instances differs from the moment before in one or two of them, so what is asked of all instances
at each of these moments, such as how many serve, must not take a look at each.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import compress

from deployd.model.instance import Instance, Listener, State


def differing(before: Sequence[Instance], now: Sequence[Instance]) -> tuple[list[Instance], list[Instance]]:
    """Return those of `before` that are no longer there and those of `now` that were not, as objects; all if their
    numbers may differ."""
    if len(before) != len(now):
        return list(before), list(now)
    changed = list(map(operator.is_not, before, now))
    return list(compress(before, changed)), list(compress(now, changed))


def is_settled(item: Instance) -> bool:
    """True if an instance serves, and nothing has ever been wrong with this start of it.

    All of one generation are alike then, except in their numbers and times.
    """
    return (
        item.state is State.READY
        and item.generation is not None
        and item.listener is Listener.PASSED
        and not item.restarts
        and not item.probe_error
        and not item.wrong_answers
        and item.hang is None
    )


class Settled(Mapping[int, Instance]):
    """The settled instances of one generation, by number."""

    __slots__ = ("_items", "_order", "generation")

    def __init__(
        self, generation: int, items: dict[int, Instance], order: list[tuple[float, int]] | None = None
    ) -> None:
        self.generation = generation
        self._items = items
        self._order = sorted((item.started, item.number) for item in items.values()) if order is None else order

    def __getitem__(self, number: int) -> Instance:
        return self._items[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def numbers(self) -> Set[int]:
        """Return the numbers, with the operations of a set at the speed of one."""
        return self._items.keys()

    def by_start(self, *, latest_first: bool) -> Iterator[Instance]:
        """Iterate over them in the order in which they were started; the number decides between equal times."""
        order = reversed(self._order) if latest_first else iter(self._order)
        return (self._items[number] for _, number in order)

    def changed(self, gone: Iterable[Instance], new: Iterable[Instance]) -> Settled:
        """Return the same without the instances that are `gone`, and with the `new` ones."""
        items, order = dict(self._items), list(self._order)
        for item in gone:
            del items[item.number]
            del order[bisect_left(order, (item.started, item.number))]
        for item in new:
            items[item.number] = item
            insort(order, (item.started, item.number))
        return Settled(self.generation, items, order)


class Instances(tuple[Instance, ...]):
    """Instances, and an index of them."""

    settled: Mapping[int, Settled]
    """Those that are settled, by generation."""
    others: tuple[Instance, ...]
    """Those that are not, in the order of their numbers."""

    @classmethod
    def of(cls, items: Iterable[Instance]) -> Instances:
        """Return the instances with their index; the same object if they have it."""
        if isinstance(items, Instances):
            return items
        made = cls(items)
        groups: dict[int, dict[int, Instance]] = {}
        others = []
        for item in made:
            if is_settled(item) and item.generation is not None:
                groups.setdefault(item.generation, {})[item.number] = item
            else:
                others.append(item)
        made.settled = {generation: Settled(generation, group) for generation, group in groups.items()}
        made.others = tuple(sorted(others, key=_number))
        return made

    def followed_by(self, items: Sequence[Instance]) -> Instances:
        """Return what `of` does, at the expense of what differs from these instances, which are mostly the same."""
        if items is self:
            return self
        gone, new = differing(self, items)
        if len(items) != len(self) or [item.number for item in gone] != [item.number for item in new]:
            return Instances.of(tuple(items))
        made = Instances(items)
        made.settled = _regrouped(self.settled, gone, new)
        numbers = {item.number for item in new}
        others = [item for item in self.others if item.number not in numbers]
        others += [item for item in new if not is_settled(item)]
        made.others = tuple(sorted(others, key=_number))
        return made

    def serving(self) -> int:
        """Return how many of them serve clients, as far as is known."""
        return sum(map(len, self.settled.values())) + sum(item.serves for item in self.others)


def _number(item: Instance) -> int:
    return item.number


def _regrouped(groups: Mapping[int, Settled], gone: Iterable[Instance], new: Iterable[Instance]) -> dict[int, Settled]:
    leaving: dict[int | None, list[Instance]] = {}
    coming: dict[int | None, list[Instance]] = {}
    for items, found in ((gone, leaving), (new, coming)):
        for item in items:
            if is_settled(item):
                found.setdefault(item.generation, []).append(item)
    made = dict(groups)
    for generation in leaving.keys() | coming.keys():
        if generation is not None:
            group = made.get(generation, Settled(generation, {}))
            made[generation] = group.changed(leaving.get(generation, ()), coming.get(generation, ()))
    return {generation: group for generation, group in made.items() if group}
