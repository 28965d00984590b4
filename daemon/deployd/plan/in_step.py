"""What the rollout of one process type does next, given those of the others to the same generation. Pure.

- A process type waits until all instances of those that it comes `after` are new and have passed their gates. Once it
  has begun, it does not wait again.
- It also waits while another one is at a canary or a preview, or is on its way there: no job goes to a release that is
  still tried out. Only one that comes before that one cannot wait for it.
- It succeeds only together with all others: until then it continues to plan, so that a crash is noticed.
- If one fails, is aborted or ends in another way, all others are rolled back; if one is paused, all others are.
- Those that are rolled back end together, too: an app has either the new generation or the one before.

Nothing is stored for this: each step follows from the rollouts, whose phases are in the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from deployd.model.rollout import Pause, Phase


class Move(StrEnum):
    """What a rollout does next."""

    GO = "go"
    WAIT = "wait"
    """For a process type that comes first."""
    HOLD = "hold"
    """Nothing is left to be done before the end, and others are not as far."""
    FINISH = "finish"
    """All of them have come to their end."""
    FAIL = "fail"
    """Another one has failed: roll back, or pause, by on_failure."""
    ABORT = "abort"
    """Another one is rolled back: roll back, whatever on_failure says."""
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Step:
    """A move, and the process type and the reason that it follows from."""

    move: Move
    of: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """The rollout of one process type to the generation that all of them are rolled out to."""

    process: str
    after: tuple[str, ...] = ()
    phase: Phase | None = Phase.ROLLING
    """None once it has ended, or if it was never recorded."""
    pause: Pause = Pause.NONE
    aborted: bool = False
    reason: str = ""
    tried: bool = False
    """True until it is resumed at its canary or preview, if it has one."""
    succeeded: bool = False
    """True once it has ended with success."""
    begun: bool = False
    """True once an instance was started or stopped for it."""
    arrived: bool = False
    """True while all its instances are new and have passed their gates."""
    settled: bool = False
    """True while nothing is left to be done in its phase."""

    @property
    def is_back(self) -> bool:
        """True if it is rolled back, or ended without success."""
        stranded = self.pause is Pause.STRANDED
        return (self.phase is None and not self.succeeded) or self.phase is Phase.ROLLING_BACK or stranded

    @property
    def is_suspended(self) -> bool:
        """True if it is paused, other than at a canary or a pause_after step."""
        return self.phase is Phase.PAUSED and self.pause is not Pause.HELD


def step(mine: Member, others: Collection[Member]) -> Step:
    """Return what the rollout of `mine`, which has not ended, does next."""
    if not mine.is_back:
        if (back := _first(mine, others, [item for item in others if item.is_back])) is not None:
            cautious = back.aborted or back.phase is None or mine.is_suspended
            return Step(Move.ABORT if cautious else Move.FAIL, back.process, back.reason)
        paused = [item for item in others if item.is_suspended]
        if paused and mine.phase is Phase.ROLLING:
            first = _first(mine, others, paused) or paused[0]
            return Step(Move.FAIL if first.pause is Pause.FAILED else Move.PAUSE, first.process, first.reason)
        if not mine.begun and mine.phase is Phase.ROLLING:
            later = _later(mine, others)
            for item in others:
                awaited = item.process in mine.after and not (item.arrived or item.succeeded)
                if awaited or (item.tried and item.process not in later):
                    return Step(Move.WAIT, item.process)
    if not mine.settled:
        return Step(Move.GO)
    late = next((item for item in others if not _is_as_far(mine, item)), None)
    return Step(Move.FINISH) if late is None else Step(Move.HOLD, late.process)


def reason_of(process: str, reason: str, processes: Iterable[str]) -> str:
    """Return the reason with the process type that it is about, unless it names one already."""
    return reason if reason.startswith(tuple(f"{name}: " for name in processes)) else f"{process}: {reason}"


def _later(mine: Member, others: Collection[Member]) -> set[str]:
    """Return the process types that come after `mine`, also by way of others."""
    later = {mine.process}
    while more := {item.process for item in others if not later.isdisjoint(item.after)} - later:
        later |= more
    return later


def _first(mine: Member, others: Collection[Member], found: list[Member]) -> Member | None:
    """Return the one of `found` whose own trouble it is, as far as that is known."""
    names = [f"{item.process}: " for item in (mine, *others)]
    return next((item for item in found if not item.reason.startswith(tuple(names))), found[0] if found else None)


def _is_as_far(mine: Member, other: Member) -> bool:
    if other.phase is None:
        return True
    return other.settled and other.is_back == mine.is_back
