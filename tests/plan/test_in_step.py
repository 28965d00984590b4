"""Process types in step: all to the new generation or all back, whatever fails and whenever the daemon dies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.rollout import Pause, Phase
from deployd.plan.in_step import Member, Move, reason_of, step

WEB, WORKER, CLOCK = Member("web"), Member("worker", ("web",)), Member("clock", ("worker",))


@dataclass
class Model:
    """An app whose process types make their turns in any order, and a daemon that may die between any two of them.

    A killed daemon forgets how far the plans were, but neither phases nor results. `waits` tells whether a failure
    pauses.
    """

    members: dict[str, Member]
    pauses: bool = False

    def others(self, name: str) -> list[Member]:
        return [item for key, item in self.members.items() if key != name]

    def turn(self, name: str) -> None:
        """Make one turn of a process type, as the reconciler does."""
        mine = self.members[name]
        if mine.phase is None:
            return
        now = step(mine, self.others(name))
        match now.move:
            case Move.FAIL:
                self.fail(name, f"{now.of}: {now.reason}")
            case Move.ABORT:
                self.back(name, f"{now.of}: {now.reason}", aborted=True)
            case Move.PAUSE:
                self.members[name] = replace(mine, phase=Phase.PAUSED, pause=Pause.REQUESTED, reason=now.reason)
            case Move.GO if not mine.is_suspended:
                self.advance(name, mine)
            case Move.FINISH:
                self.finish(mine.is_back)

    def advance(self, name: str, mine: Member) -> None:
        if not mine.begun and not mine.is_back:
            early = [self.members[other] for other in mine.after if not self.members[other].arrived]
            early += [item for item in self.others(name) if item.tried and name not in item.after and not item.is_back]
            assert not early, f"{name} began before {early}"
        if mine.is_back or mine.arrived:
            self.members[name] = replace(mine, settled=True)
        elif mine.tried and mine.begun:  # at its canary, where it is resumed soon
            self.members[name] = replace(mine, tried=False)
        else:
            self.members[name] = replace(mine, begun=True, arrived=mine.begun)

    def finish(self, back: bool) -> None:
        """End all that are active, in one transaction."""
        active = {name: item for name, item in self.members.items() if item.phase is not None}
        assert all(item.settled and item.is_back == back for item in active.values())
        assert not (not back and any(item.phase is None and not item.succeeded for item in self.members.values()))
        for name, item in active.items():
            self.members[name] = replace(item, phase=None, succeeded=not back)

    def fail(self, name: str, reason: str) -> None:
        mine = self.members[name]
        held = mine.phase is Phase.PAUSED and mine.pause is Pause.HELD
        if mine.phase is Phase.ROLLING or held:
            if self.pauses:
                stopped = replace(mine, phase=Phase.PAUSED, pause=Pause.FAILED)
                self.members[name] = replace(stopped, reason=reason, arrived=False, settled=False)
            else:
                self.back(name, reason)

    def back(self, name: str, reason: str, *, aborted: bool = False) -> None:
        mine = self.members[name]
        if mine.phase is not None and not mine.is_back:
            mine = replace(mine, phase=Phase.ROLLING_BACK, pause=Pause.NONE, reason=reason)
            self.members[name] = replace(mine, aborted=mine.aborted or aborted, arrived=False, settled=False)

    def resume(self) -> None:
        for name, item in self.members.items():
            if item.is_suspended:
                self.members[name] = replace(item, phase=Phase.ROLLING, pause=Pause.NONE, reason="")

    def die(self) -> None:
        for name, item in self.members.items():
            self.members[name] = replace(item, arrived=False, settled=False)

    def settle(self) -> None:
        """Make turns until nothing changes."""
        for _ in range(20):
            for name in self.members:
                self.turn(name)


names = st.sampled_from(["web", "worker", "clock"])
happenings = st.lists(
    st.one_of(
        names.map(lambda name: ("turn", name)),
        names.map(lambda name: ("fail", name)),
        names.map(lambda name: ("crash", name)),
        st.sampled_from([("die", ""), ("abort", ""), ("resume", ""), ("turns", "")]),
    ),
    max_size=40,
)
orders = st.sampled_from(
    [
        (WEB, WORKER, CLOCK),
        (WEB, WORKER, replace(CLOCK, after=())),
        (replace(WEB, after=("worker",)), replace(WORKER, after=()), replace(CLOCK, after=("web", "worker"))),
        (replace(WEB, tried=True), replace(WORKER, after=()), CLOCK),
        (replace(WEB, tried=True, after=("worker",)), replace(WORKER, after=()), replace(CLOCK, after=("web",))),
    ]
)


@settings(max_examples=300)
@given(orders, happenings, st.booleans())
def test_all_get_the_new_generation_or_none(
    members: tuple[Member, ...], what: list[tuple[str, str]], pauses: bool
) -> None:
    model = Model({item.process: item for item in members}, pauses)
    for happening, name in what:
        match happening:
            case "turn":
                model.turn(name)
            case "turns":
                model.settle()
            case "fail":
                model.fail(name, "it failed")
            case "crash":  # an instance that had passed: it is awaited again
                model.members[name] = replace(model.members[name], arrived=False, settled=False)
            case "die":
                model.die()
            case "abort":
                for each in list(model.members):
                    model.back(each, "aborted by request", aborted=True)
            case "resume":
                model.resume()
        ended = [item for item in model.members.values() if item.phase is None]
        assert len({item.succeeded for item in ended}) < 2
    model.settle()
    model.resume()  # after a failure that pauses, a second attempt; it succeeds unless it is rolled back
    model.settle()
    assert all(item.phase is None for item in model.members.values()), model.members
    assert len({item.succeeded for item in model.members.values()}) == 1


def test_without_a_failure_all_succeed() -> None:
    model = Model({item.process: item for item in (CLOCK, WORKER, WEB)})
    model.settle()
    assert all(item.succeeded for item in model.members.values())


@pytest.mark.parametrize(
    ("mine", "others", "move"),
    [
        (WEB, [], Move.GO),
        (replace(WEB, settled=True), [], Move.FINISH),
        (WORKER, [WEB], Move.WAIT),
        (WORKER, [replace(WEB, arrived=True)], Move.GO),
        (WORKER, [replace(WEB, phase=None, succeeded=True)], Move.GO),
        (replace(WORKER, begun=True), [WEB], Move.GO),
        (WORKER, [replace(WEB, phase=Phase.PAUSED, pause=Pause.HELD)], Move.WAIT),
        (WORKER, [replace(WEB, phase=Phase.PAUSED, pause=Pause.REQUESTED)], Move.PAUSE),
        (WORKER, [replace(WEB, phase=Phase.PAUSED, pause=Pause.FAILED)], Move.FAIL),
        (WORKER, [replace(WEB, phase=Phase.PAUSED, pause=Pause.STRANDED)], Move.FAIL),
        (replace(WEB, phase=Phase.PAUSED, pause=Pause.HELD), [replace(WORKER, phase=Phase.ROLLING_BACK)], Move.FAIL),
        (
            replace(WEB, phase=Phase.PAUSED, pause=Pause.BLOCKED),
            [replace(WORKER, phase=Phase.ROLLING_BACK)],
            Move.ABORT,
        ),
        (WEB, [replace(WORKER, phase=Phase.ROLLING_BACK, aborted=True)], Move.ABORT),
        (WEB, [replace(WORKER, phase=None)], Move.ABORT),
        (replace(WORKER, after=()), [replace(WEB, tried=True)], Move.WAIT),
        (replace(WORKER, after=(), begun=True), [replace(WEB, tried=True)], Move.GO),
        (replace(WORKER, after=()), [replace(WEB, tried=True, after=("worker",))], Move.GO),
        (
            replace(WORKER, after=()),
            [replace(WEB, tried=True, after=("clock",)), replace(CLOCK, after=("worker",))],
            Move.GO,
        ),
        (replace(WEB, settled=True), [WORKER], Move.HOLD),
        (replace(WEB, phase=Phase.ROLLING_BACK, settled=True), [WORKER], Move.HOLD),
        (replace(WEB, phase=Phase.ROLLING_BACK, settled=True), [replace(WORKER, phase=None)], Move.FINISH),
    ],
)
def test_each_move(mine: Member, others: list[Member], move: Move) -> None:
    assert step(mine, others).move is move


def test_a_reason_names_the_process_type_that_it_is_about() -> None:
    failed = replace(WORKER, phase=Phase.ROLLING_BACK, reason="instance 1 exited")
    follows = replace(WEB, phase=Phase.ROLLING_BACK, reason="worker: instance 1 exited")
    seen = step(CLOCK, [follows, failed])
    assert (seen.of, seen.reason) == ("worker", "instance 1 exited")
    every = ("web", "worker", "clock")
    assert reason_of(seen.of, seen.reason, every) == reason_of("web", follows.reason, every) == follows.reason
