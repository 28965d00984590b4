"""What a fleet is to do: the value of control/goal. Its mod_revision in etcd is the token of all rollouts for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import accumulate
from types import MappingProxyType
from typing import Self

from deployd.model.fleet import ID
from deployd_cli.fleet.archive import Archive
from deployd_cli.fleet.keys import GOAL
from deployd_cli.fleet.value import Fields, text_of


class Kind(StrEnum):
    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    """Each host returns to what was live before the goal with the token `of`."""
    ABORT = "abort"
    """No host begins, and hosts that roll under the goal with the token `of` abort that rollout."""


class OnFailure(StrEnum):
    STOP = "stop"
    ROLLBACK = "rollback"
    """The hosts that were done before return to the release before, too."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal. The driver has resolved order and batches, so that all hosts know the same ones."""

    id: str
    """Differs for each goal: a daemon takes two rollouts with the same ID for one."""
    kind: Kind
    hosts: tuple[str, ...]
    """In the order of the batches."""
    batches: tuple[int, ...]
    """Numbers of hosts, in sum len(hosts)."""
    release: str = ""
    """The ID of the release, which each host must have; "" for a rollback, since each host has a release before of its
    own, and for an abort."""
    of: int = 0
    """The token of the goal that is rolled back or aborted; 0 for a rollout."""
    max_failures: int = 0
    """How many hosts may fail before the fleet halts."""
    bake: float = 0.0
    """Seconds between the success of one batch and the next one."""
    on_failure: OnFailure = OnFailure.STOP
    created: str = ""
    """When, a time in ISO 8601, for display only."""
    archive: str = ""
    """Where hosts that do not have the release find its archive, see archive.py; "" if each has it already."""
    sha256: str = ""
    """Of the archive."""
    places: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """The index of each host in `hosts`."""
    starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The index of the first host of each batch, and len(hosts) as the last item."""

    def __post_init__(self) -> None:
        places = MappingProxyType({host: place for place, host in enumerate(self.hosts)})
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "starts", tuple(accumulate(self.batches, initial=0)))

    @classmethod
    def parse(cls, text: str, key: str = GOAL) -> Self:
        """Return the goal that the text describes. Raises Refused with one sentence that names key and field."""
        found = Fields.of(key, text)
        goal = cls(
            id=found.text("id"),
            kind=Kind(found.choice("kind", tuple(Kind))),
            hosts=found.hosts("hosts"),
            batches=found.sizes("batches"),
            release=found.text("release", ""),
            of=found.number("of", 0),
            max_failures=found.number("max_failures", 0),
            bake=found.seconds("bake"),
            on_failure=OnFailure(found.choice("on_failure", tuple(OnFailure), OnFailure.STOP)),
            created=found.text("created", ""),
            archive=found.text("archive", ""),
            sha256=found.text("sha256", ""),
        )
        if not ID.fullmatch(goal.id):
            found.wrong("id", "1 to 128 letters, digits and . _ : / @ + -, with a letter or digit first")
        if goal.starts[-1] != len(goal.hosts):
            found.wrong("batches", f"a list of numbers whose sum is {len(goal.hosts)}, the number of hosts")
        if (goal.kind is Kind.ROLLOUT) != bool(goal.release):
            found.wrong("release", "the ID of a release for a rollout, and empty for a rollback or an abort")
        if goal.archive or goal.sha256:
            if goal.kind is not Kind.ROLLOUT:
                found.wrong("archive", "empty for a rollback or an abort")
            if problem := Archive(goal.archive, goal.sha256).problem():
                found.wrong("archive", f"there with its sha256 ({problem})")
        if (goal.kind is Kind.ROLLOUT) != (goal.of == 0):
            found.wrong("of", "the token of a goal for a rollback or an abort, and 0 for a rollout")
        return goal

    def text(self) -> str:
        """Return what parse() reads."""
        return text_of({item.name: getattr(self, item.name) for item in fields(self) if item.init})

    def batch_of(self, host: str) -> int | None:
        """Return the index of the batch of a host, None if it has no part in the goal."""
        place = self.places.get(host)
        return None if place is None else bisect_right(self.starts, place) - 1

    def batch(self, index: int) -> tuple[str, ...]:
        """Return the hosts of a batch."""
        return self.hosts[self.starts[index] : self.starts[index + 1]]
