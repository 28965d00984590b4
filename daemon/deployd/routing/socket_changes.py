"""Which instances of an app and which of their socket units have changed since they were looked at.

A turn of the control loop changes one or two of them, and must not take a look at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from deployd.model.instance import Instance
from deployd.model.instances import differing
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import Properties


class SocketChanges:
    """`unit` returns the socket unit of an instance."""

    def __init__(self, systemd: Systemd, unit: Callable[[int], str]) -> None:
        self._systemd = systemd
        self._unit = unit
        self._instances: Sequence[Instance] = ()
        self._up: dict[int, Instance] = {}
        self._known: dict[int, Properties] = {}
        """The properties of each unit when it was looked at."""
        self._due: set[int] = set()

    @property
    def up(self) -> Mapping[int, Instance]:
        """The instances that run, or start with the app."""
        return self._up

    def add(self, numbers: Iterable[int]) -> None:
        """Have these looked at although they may not have changed."""
        self._due.update(numbers)

    def due(self, instances: Sequence[Instance]) -> Set[int]:
        """Return which are to be looked at, of which some may be gone. They stay due until that is noted."""
        gone, new = differing(self._instances, instances)
        for item in gone:
            self._up.pop(item.number, None)
        self._up |= {item.number: item for item in new if item.is_up}
        self._due |= {item.number for item in (*gone, *new)}
        self._instances = instances
        read, unit = self._systemd.properties, self._unit
        self._due |= {number for number, known in self._known.items() if read(unit(number)) is not known}
        return frozenset(self._due)

    def looked_at(self, number: int) -> None:
        """Note that one is known as it is now; a change of its unit makes it due again."""
        self._due.discard(number)
        self._known[number] = self._systemd.properties(self._unit(number))

    def forget(self, numbers: Iterable[int]) -> None:
        """Note that these are gone, and their units with them."""
        for number in numbers:
            self._due.discard(number)
            self._known.pop(number, None)
