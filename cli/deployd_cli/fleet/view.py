"""What one host or driver knows of the keys of an app, at one revision of etcd. A frozen value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from deployd.errors import Refused
from deployd_cli.fleet import keys
from deployd_cli.fleet.goal import Goal
from deployd_cli.fleet.record import Failure, HostRecord, Progress, Slot
from deployd_cli.fleet.transaction import Put, Transaction

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Stored(Generic[Value]):
    """A value as it is in etcd."""

    value: Value
    revision: int
    """The mod_revision of its key."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key that was read, or an event of a watch."""

    key: str
    """Relative to `PREFIX/APP/`."""
    value: str | None
    """None if the key was deleted."""
    revision: int
    """The mod_revision of the key."""


@dataclass(frozen=True, slots=True)
class View:
    """The keys of an app.

    A host that is no steward watches control/ and its own keys; its view has slots and hosts of no other host.
    """

    revision: int = 0
    """All keys are as they were at this revision, but for a host's own keys in a view that is not `wide`."""
    wide: bool = False
    """slots/ and hosts/ of all hosts are there, from the same watch as control/, hence at the same revision. With two
    watches, one could lag behind the other."""
    goal: Stored[Goal] | None = None
    progress: Stored[Progress] | None = None
    paused: int = 0
    """The mod_revision of control/paused, 0 if the fleet is not paused."""
    failures: Mapping[str, Stored[Failure]] = field(default_factory=dict)
    slots: Mapping[str, Stored[Slot]] = field(default_factory=dict)
    hosts: Mapping[str, Stored[HostRecord]] = field(default_factory=dict)
    alive: frozenset[str] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)
    """By key, what is wrong with a value that cannot be read. Such a key counts as missing."""

    def after(self, changes: Iterable[Change], revision: int) -> View:
        """Return the view at a newer revision. `changes` are in the order of their revisions."""
        maps: dict[str, dict[str, Any]] = {}
        fields: dict[str, Any] = {"revision": max(self.revision, revision)}
        problems = dict(self.problems)
        for change in changes:
            problems.pop(change.key, None)
            if change.key == keys.PAUSED:
                fields["paused"] = 0 if change.value is None else change.revision
            elif change.key in SINGLE:
                name, parse = SINGLE[change.key]
                fields[name] = _stored(change, parse, problems)
            else:
                self._apply(change, maps, problems)
        fields |= {name: MappingProxyType(known) for name, known in maps.items() if name != "alive"}
        if "alive" in maps:
            fields["alive"] = frozenset(maps["alive"])
        return replace(self, problems=MappingProxyType(problems), **fields)

    def wrote(self, transaction: Transaction, revision: int) -> View:
        """Return the view after a transaction of this host was applied at this revision, before a watch reports it.

        `revision` of the view stays: what others have written in the meantime is not known.
        """
        changes = (
            Change(item.key, item.value if isinstance(item, Put) else None, revision) for item in transaction.writes
        )
        return self.after(changes, self.revision)

    def _apply(self, change: Change, maps: dict[str, dict[str, Any]], problems: dict[str, str]) -> None:
        """Apply the change of a key that each host has one of."""
        for prefix, (name, parse) in EACH.items():
            if change.key.startswith(prefix):
                if name not in maps:  # a copy for all changes, not one for each
                    maps[name] = dict.fromkeys(self.alive) if name == "alive" else {**getattr(self, name)}
                known = maps[name]
                stored = _stored(change, parse, problems)
                known.pop(change.key.removeprefix(prefix), None)
                if stored is not None:
                    known[change.key.removeprefix(prefix)] = stored
                return

    @property
    def token(self) -> int:
        """The token of the goal, 0 without one."""
        return self.goal.revision if self.goal is not None else 0

    @property
    def open_batch(self) -> int:
        """The index of the last batch of the goal that may roll; -1 if none may."""
        return self.opened(self.token)

    def opened(self, token: int) -> int:
        """Return the same for a goal that may have been aborted by the current one."""
        if self.goal is None or self.progress is None or self.progress.value.token != token:
            return -1
        return min(self.progress.value.batch, len(self.goal.value.batches) - 1)

    def failed(self, token: int) -> tuple[str, ...]:
        """Return the hosts that have failed under the goal with this token and are not excused."""
        return tuple(
            host for host, item in self.failures.items() if item.value.token == token and not item.value.excused
        )

    def excused(self, token: int) -> frozenset[str]:
        """Return the hosts whose slots were released under the goal with this token."""
        return frozenset(
            host for host, item in self.failures.items() if item.value.token == token and item.value.excused
        )

    @property
    def halted(self) -> bool:
        """True if more hosts have failed under the goal than it allows: no other host begins."""
        return self.goal is not None and len(self.failed(self.token)) > self.goal.value.max_failures


def rolling(view: View, host: str) -> bool:
    """True if the slot of a host says that it rolls, False if there is none or its rollout has ended in failure."""
    slot, record = view.slots.get(host), view.hosts.get(host)
    return slot is not None and (record is None or not record.value.ended_for(slot.value.token))


Parse = Callable[[str, str], Any]
SINGLE: dict[str, tuple[str, Parse]] = {keys.GOAL: ("goal", Goal.parse), keys.PROGRESS: ("progress", Progress.parse)}
EACH: dict[str, tuple[str, Parse]] = {
    keys.FAILURES: ("failures", Failure.parse),
    keys.SLOTS: ("slots", Slot.parse),
    keys.HOSTS: ("hosts", HostRecord.parse),
    keys.ALIVE: ("alive", lambda text, _key: text),
}


def _stored(change: Change, parse: Parse, problems: dict[str, str]) -> Stored[Any] | None:
    """Return the value, None if the key was deleted or its value cannot be read."""
    if change.value is None:
        return None
    try:
        return Stored(parse(change.value, change.key), change.revision)
    except Refused as problem:
        problems[change.key] = str(problem)
        return None
