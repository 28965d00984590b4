"""The values of the other keys: how far a fleet is, which hosts roll, and how each one ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from deployd_cli.fleet.value import Fields, text_of


class Result(StrEnum):
    """How the rollout of one host ended."""

    NONE = "none"
    """It is registered, and has had no part in a rollout of the fleet yet."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RELEASED = "released"
    """It was gone, and an administrator has released its slot or taken it out of the fleet: nothing waits for it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """control/progress: the batches up to `batch` of the goal with this token may roll."""

    token: int
    batch: int

    @classmethod
    def parse(cls, text: str, key: str) -> Self:
        """Raises Refused with one sentence that names key and field, as do the others below."""
        fields = Fields.of(key, text)
        return cls(fields.number("token", least=1), fields.number("batch"))

    def text(self) -> str:
        return text_of(asdict(self))


@dataclass(frozen=True, slots=True)
class Failure:
    """control/failures/HOST: known to all hosts, so that none takes a slot after too many failures."""

    token: int
    reason: str
    excused: bool = False
    """The slot was released: the fleet neither waits for the host nor counts it as failed."""

    @classmethod
    def parse(cls, text: str, key: str) -> Self:
        fields = Fields.of(key, text)
        return cls(fields.number("token", least=1), fields.text("reason"), fields.flag("excused"))

    def text(self) -> str:
        return text_of(asdict(self))


@dataclass(frozen=True, slots=True)
class Slot:
    """slots/HOST: the host rolls under the goal with this token, or has failed and stands.

    It has all that is needed to begin the rollout once more when the goal has been replaced in the meantime.
    """

    token: int
    fleet: str
    """The ID of the goal."""
    release: str
    """The ID of the release that the host rolls out."""
    before: str
    """The ID of the release that was live when the slot was taken, "" if there was none."""
    boot: str
    """The boot ID and the invocation ID of the agent that wrote the slot."""
    invocation: str
    sent: bool = False
    """The agent was killed while it had the slot: its request to the daemon may still be on its way."""

    @classmethod
    def parse(cls, text: str, key: str) -> Self:
        fields = Fields.of(key, text)
        return cls(
            fields.number("token", least=1),
            fields.text("fleet"),
            fields.text("release"),
            fields.text("before", ""),
            fields.text("boot", ""),
            fields.text("invocation", ""),
            fields.flag("sent"),
        )

    def text(self) -> str:
        return text_of(asdict(self))


@dataclass(frozen=True, slots=True)
class HostRecord:
    """hosts/HOST: that the host is a member, and how its last rollout ended."""

    machine_id: str = ""
    """"" if it never registered, or was taken out of the fleet: any machine may have the name."""
    token: int = 0
    """Of the goal that `result` belongs to, 0 before the first one."""
    release: str = ""
    """The ID of the release that the goal has for this host."""
    before: str = ""
    """The ID of the release that was live before that goal."""
    result: Result = Result.NONE
    reason: str = ""
    ended: str = ""
    """A time in ISO 8601, for display only: the clocks of hosts are not compared."""
    live: str = ""
    """The ID of the release that is live instead of the one that the fleet has left there, for display only."""

    @classmethod
    def parse(cls, text: str, key: str) -> Self:
        fields = Fields.of(key, text)
        return cls(
            fields.text("machine_id", ""),
            fields.number("token", 0),
            fields.text("release", ""),
            fields.text("before", ""),
            Result(fields.choice("result", tuple(Result), Result.NONE)),
            fields.text("reason", ""),
            fields.text("ended", ""),
            fields.text("live", ""),
        )

    def text(self) -> str:
        return text_of(asdict(self))

    @property
    def left(self) -> str:
        """The ID of the release that the last rollout of the fleet has left on the host, "" if that is not known."""
        return {Result.SUCCEEDED: self.release, Result.FAILED: self.before}.get(self.result, "")

    def ended_for(self, token: int) -> bool:
        """True if the host has nothing more to do for the goal with this token."""
        return self.token == token and self.result is not Result.NONE


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """history/ID: a goal that was set, and what became of it. The mod_revision of its first version is the token."""

    kind: str
    release: str
    of: int
    hosts: int
    """How many hosts were to roll."""
    created: str
    outcome: str = ""
    """"" while it is the goal of the fleet."""
    reason: str = ""
    ended: str = ""

    @classmethod
    def parse(cls, text: str, key: str) -> Self:
        fields = Fields.of(key, text)
        return cls(
            fields.text("kind"),
            fields.text("release", ""),
            fields.number("of", 0),
            fields.number("hosts", 0),
            fields.text("created", ""),
            fields.text("outcome", ""),
            fields.text("reason", ""),
            fields.text("ended", ""),
        )

    def text(self) -> str:
        return text_of(asdict(self))
