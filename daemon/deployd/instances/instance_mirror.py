"""The instances of one app as they are seen: made from the mirror of their units, their pins, and actions under way.

What does not change stays the same object, however many instances there are.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from itertools import compress
from types import MappingProxyType
from typing import NamedTuple

from deployd.model import unit_name
from deployd.model.action import Freeze, Start, Stop, Thaw
from deployd.model.instance import Instance, State
from deployd.state.drains import DrainRecord
from deployd.state.pins import Pins, StandbyRecord
from deployd.systemd import observe
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import Properties

Kind = type[Start] | type[Stop] | type[Freeze] | type[Thaw]
_Records = tuple[Mapping[int, int], Mapping[int, StandbyRecord], Mapping[int, DrainRecord]]


class _Basis(NamedTuple):
    """What instances are made from, apart from their mirrors."""

    revision: int = -1
    units: Mapping[int, str] = MappingProxyType({})
    pins: Mapping[int, int] = MappingProxyType({})
    aside: Mapping[int, StandbyRecord] = MappingProxyType({})
    drains: Mapping[int, DrainRecord] = MappingProxyType({})
    kinds: Mapping[int, Kind] = MappingProxyType({})
    refusals: Mapping[int, str] = MappingProxyType({})
    details: Mapping[int, str] = MappingProxyType({})

    def changed(self, before: _Basis, mirrors: list[Properties], mirrored: list[Properties]) -> Iterable[int]:
        """Return the instances that may differ from those made from `before` and `mirrored`."""
        if self.units is not before.units:
            return self.units.keys()
        found = set[int]()
        if mirrors is not mirrored:
            found.update(compress(self.units, map(operator.is_not, mirrors, mirrored)))
        for now, then in zip(self[2:], before[2:], strict=True):
            if now is not then:
                found.update(number for number in now if now[number] != then.get(number))
                found.update(then.keys() - now.keys())
        return found


class _Origin(NamedTuple):
    """What one instance is made from."""

    properties: Properties
    pin: int | None
    aside: StandbyRecord | None
    drain: DrainRecord | None
    job: Kind | None
    refusal: str | None
    detail: str | None


class InstanceMirror:
    """Sees `NAME@N.service` for all N that have a pin, a loaded unit or an action."""

    def __init__(self, app: str, systemd: Systemd, pins: Pins) -> None:
        self._app = app
        self._systemd = systemd
        self._pins = pins
        self.refusals: dict[int, str] = {}
        """Why the last start of an instance had no effect."""
        self.details: dict[int, str] = {}
        """How an instance failed that systemd has restarted since."""
        self._names: dict[int, str] = {}
        """The known instances and their units, by number."""
        self._each: dict[int, tuple[_Origin, Instance]] = {}
        """Each instance as it was last seen, and what it was made from."""
        self._items: dict[int, Instance] = {}
        self._mirrors: list[Properties] = []
        self._seen: tuple[Instance, ...] = ()
        self._basis = _Basis()
        self._read: _Records = {}, {}, {}
        self._read_at: int | None = None
        """The revision of the records that were read last; None if they may be others now."""

    async def discover(self) -> None:
        """Find the instances that have a pin or a loaded unit, and read their units. Raises SystemdError."""
        names = await self._systemd.list_units(unit_name.instance(self._app, "*"))
        loaded = (unit_name.instance_number(self._app, name) for name in names)
        self.know({*self._pins.held(self._app), *(number for number in loaded if number is not None)})
        await self._systemd.watch_all(self._names.values())

    def forget(self) -> None:
        """Stop watching the units, because the app was removed."""
        for unit in self._names.values():
            self._systemd.unwatch(unit)
        self._names = {}
        self._each.clear()

    def observe(self, kinds: Mapping[int, Kind]) -> tuple[Instance, ...]:
        """Return the instances; `kinds` are the actions under way, which count as begun. Raises StateError.

        As long as nothing changes it is the same object, and instances that have not changed are.
        """
        pins, aside, drains = self._records()
        before, revision = self._basis, self._systemd.revision
        if pins is not before.pins or aside is not before.aside:
            self.know(pins.keys() | aside.keys())
        basis = _Basis(revision, self._names, pins, aside, drains, kinds, self.refusals.copy(), self.details.copy())
        if basis != before:
            mirrors = self._mirrors
            if revision != before.revision or self._names is not before.units:
                mirrors = self._systemd.mirrored(self._names.values())
            for number in basis.changed(before, mirrors, self._mirrors):
                properties = self._systemd.properties(self._names[number])
                records = pins.get(number), aside.get(number), drains.get(number)
                said = self.refusals.get(number), self.details.get(number)
                self._make(number, _Origin(properties, *records, kinds.get(number), *said))
            if self._names is not before.units:
                self._items = {number: self._each[number][1] for number in self._names}
            if self._seen != (seen := tuple(self._items.values())):  # unchanged ones are the same objects
                self._seen = seen
            self._basis, self._mirrors = basis, mirrors
        return self._seen

    def begin_turn(self) -> None:
        """Have the records of the app read again, which another process may have changed."""
        self._read_at = None

    def _records(self) -> _Records:
        if (revision := self._pins.revision) != self._read_at:
            pins, aside = self._pins.read(self._app), self._pins.standby(self._app)
            self._read = pins, aside, self._pins.drains.read(self._app)
            self._read_at = revision
        return self._read

    def has_changed(self, number: int) -> bool:
        """True if the unit of an instance has changed since it was last seen so that the plan may change.

        While an action on it is under way only its state and its restarts count, because the end of the action is
        reported. That, and changes which mean nothing, are most of what systemd signals.
        """
        known = self._each.get(number)
        if known is None:
            return True
        origin, seen = known
        now = self._now(number, origin)
        return now != seen if origin.job is None else _outline(now) != _outline(seen)

    def has_ended_otherwise(self, number: int) -> bool:
        """True if an instance, or a record of one, is not as it was last seen now that no action on it is under way."""
        known = self._each.get(number)
        if known is None or self._pins.revision != self._read_at:
            return True
        return self._now(number, known[0]._replace(job=None)) != known[1]

    def know(self, numbers: Set[int]) -> None:
        """Observe these instances from now on."""
        if not numbers <= self._names.keys():
            self._names = {
                number: unit_name.instance(self._app, number) for number in sorted(numbers | self._names.keys())
            }

    def of(self, number: int) -> Instance:
        """Return an instance as the mirror has it, whatever its pin."""
        return observe.instance(number, None, self._systemd.properties(unit_name.instance(self._app, number)))

    def _now(self, number: int, origin: _Origin) -> Instance:
        """Return an instance as its unit is now, and the rest as it was."""
        refusal, detail = self.refusals.get(number), self.details.get(number)
        properties = self._systemd.properties(self._names[number])
        return _made(number, origin._replace(properties=properties, refusal=refusal, detail=detail))

    def _make(self, number: int, origin: _Origin) -> None:
        """Make an instance, unless what it is made from has stayed the same."""
        known = self._each.get(number)
        if known is not None and known[0] == origin:
            return
        made = _made(number, origin)
        if made.detail:
            self.details[number] = made.detail
        if known is not None and known[1] == made:
            made = known[1]  # a signal need not change anything that counts
        self._each[number] = origin._replace(detail=self.details.get(number)), made
        self._items[number] = made


def _made(number: int, origin: _Origin) -> Instance:
    """Return an instance as it is once its job has begun, with the reason of its last failure."""
    aside = None if origin.aside is None else origin.aside.generation
    item, job = observe.instance(number, origin.pin, origin.properties, aside), origin.job
    if job is Start and item.state is State.INACTIVE:
        item = replace(item, state=State.STARTING)
    elif job in (Stop, Freeze):
        item = replace(item, state=State.STOPPING)
    elif job is Thaw and item.state in (State.STANDBY, State.READY):
        item = replace(item, state=State.STARTING)
    elif item.state is State.INACTIVE and origin.refusal is not None:
        item = replace(item, state=State.FAILED, detail=origin.refusal, refused=True)
    if not item.detail and (item.restarts or item.state is State.FAILED):
        # systemd has restarted it already; the reason of the crash was seen before.
        item = replace(item, detail=origin.detail or observe.RESTARTED)
    if origin.drain is not None and origin.pin is not None:
        drain = origin.drain
        item = replace(item, state=State.DRAINING, draining_since=drain.since, drains_until=drain.until)
    return item


def _outline(item: Instance) -> tuple[object, ...]:
    return item.state, item.restarts, item.restarting, item.refused
