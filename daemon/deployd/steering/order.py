"""The order of the listeners of one address in the kernel, which no call tells. Pure, but for the file at the end.

A classic BPF program answers with an index: the position in the group. listen(2) puts a listener at the end, close(2)
moves the last one into the place of the closed one (the kernel's net/core/sock_reuseport.c: reuseport_add_sock,
__reuseport_detach_sock). So who saw each listener come and go, one by one, knows the order; who looks less often does
if all ways to get from what was to what is lead to the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from deployd.steering.syscalls import told

Order = tuple[int, ...]
"""Listeners by position; the kernel's cookie stands for a listener, since it is never used again."""

Span = tuple[float, float]
"""The first and the last moment at which something may have happened."""

MOST_CHANGES = 6
"""More than so many at once are not thought through: their sequences are too many."""


def opened(order: Order, one: int) -> Order:
    """After listen(2)."""
    return (*order, one)


def closed(order: Order, one: int) -> Order:
    """After close(2). Raises ValueError if it is not there."""
    place = order.index(one)
    *rest, last = order
    if place < len(rest):
        rest[place] = last
    return tuple(rest)


def follow(order: Order | None, there: Collection[int], spans: Mapping[int, Span]) -> Order | None:
    """What the order is now, with these listeners `there`; None if it may be one or another.

    Nobody may have come and gone unseen: that would have left its trace in the order, and only there.
    `order`: what it was, None if that is not known. `spans`: when those that are new were opened, as far as it is
    known.
    """
    now = set(there)
    if len(now) <= 1:
        return tuple(now)  # nobody to be mistaken for
    if order is None:
        return None
    gone = [one for one in order if one not in now]
    new = sorted(now.difference(order), key=lambda one: spans.get(one, _ANY))
    if not gone:
        return (*order, *new) if _one_by_one(new, spans) else None
    if len(gone) + len(new) > MOST_CHANGES:
        return None
    found = {_after(order, steps, now) for steps in _sequences(gone, new, spans)}
    return found.pop() if len(found) == 1 else None


_ANY: Span = (float("-inf"), float("inf"))


def _one_by_one(new: Sequence[int], spans: Mapping[int, Span]) -> bool:
    return all(_before(first, second, spans) for first, second in itertools.pairwise(new))


def _before(first: int, second: int, spans: Mapping[int, Span]) -> bool:
    """Was `first` opened before `second`, for certain?"""
    return spans.get(first, _ANY)[1] < spans.get(second, _ANY)[0]


def _sequences(gone: Sequence[int], new: Sequence[int], spans: Mapping[int, Span]) -> Iterator[tuple[int, ...]]:
    """In which order it may have happened that these went and came."""
    for steps in itertools.permutations([*gone, *new]):
        came = [one for one in steps if one in new]
        if not any(_before(second, first, spans) for first, second in itertools.combinations(came, 2)):
            yield steps


def _after(order: Order, steps: Sequence[int], there: Collection[int]) -> Order:
    for one in steps:
        order = opened(order, one) if one in there else closed(order, one)
    return order


class OrderFile:
    """The orders of an app's addresses for the daemon after us; below /run, since a reboot ends all of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: object = None

    def read(self) -> dict[str, Order | None] | None:
        """By the address's label. Empty if nobody has written it, None if it makes no sense: then none is known."""
        try:
            raw = json.loads(self._path.read_text())
            return {str(label): None if order is None else tuple(map(int, order)) for label, order in raw.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def write(self, orders: Mapping[str, Order | None]) -> None:
        """Write it whole, if it is news. Raises SteeringError."""
        if orders != self._written:
            self._replace(json.dumps(orders))
            self._written = dict(orders)

    def spoil(self) -> None:
        """Somebody else steers from now on, and does not follow the order. Raises SteeringError."""
        self._replace("null")

    def remove(self) -> None:
        """Raises SteeringError."""
        with told(f"remove {self._path}"):
            self._path.unlink(missing_ok=True)
        self._written = None

    def _replace(self, text: str) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        with told(f"write {self._path}"):
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            new.write_text(text)
            new.replace(self._path)
