"""`python3 -m tests.bench.recovery`: the way back from a bad release, as deployd goes it and as a restart goes it.

The story: a deploy of generation 2 was cancelled half-way, so that half of the pool is healthy left-overs of
generation 1. Generation 3 followed, passed the gate, had replaced a share of the pool when it turned out to be bad,
and is taken back. deployd makes generation 4 of the release of generation 1: it adopts the left-overs, and stops the
newest generation first. The other one restarts all processes to that release, the oldest first. Everything is
simulated, at the same pace and with the same boot time; the same figures come out each time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict, plan
from deployd.plan.simulation import Durations, Outcome, Planner, simulate
from tests.bench.oldest_first import oldest_first

GOOD, CANCELLED, BAD, BACK = 1, 2, 3, 4
"""Generations, as the story numbers them. BACK has the release of GOOD."""

World = tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to whom, and how fast. Times in seconds, shares of the pool."""

    instances: int = 200
    boot: float = 5.0
    stop: float = 1.0
    cancelled: float = 0.5
    """Where the deploy of generation 2 was cancelled."""
    share: float = 0.25
    """How much of the pool was bad when it was noticed."""
    surge: int = 1
    unavailable: int = 0

    @property
    def durations(self) -> Durations:
        return Durations(boot=lambda _number, _generation: self.boot, stop=lambda _number, _generation: self.stop)

    def goal(self, generation: int) -> Goal:
        return Goal(generation, self.instances, self.surge, self.unavailable)

    def before(self) -> World:
        """The pool when somebody says `rollback`."""
        pool: World = tuple(
            Instance(number, GOOD, State.READY, started=float(number), ready_since=number + self.boot)
            for number in range(1, self.instances + 1)
        )
        for generation, share in ((CANCELLED, self.cancelled), (BAD, self.share)):
            pool = self._roll(pool, generation, round(share * self.instances)).instances
        return pool

    def _roll(self, pool: World, generation: int, count: int) -> Outcome:
        """Roll out, until `count` are new and as many old ones are gone."""

        def reached(_seconds: float, world: World) -> bool:
            alive = [item for item in world if item.state is not State.INACTIVE]
            settled = len(alive) == self.instances and all(item.state is State.READY for item in alive)
            return settled and sum(item.generation == generation for item in alive) >= count

        return simulate(self.goal(generation), pool, durations=self.durations, until=reached)


@dataclass(slots=True)
class Watch:
    """What can be seen of the pool while it recovers."""

    clean: float = 0.0
    """Seconds until no bad instance was left."""
    healthy: int = sys.maxsize
    """The least number of instances that served, and were not bad."""
    bad_seconds: float = 0.0
    """Instance-seconds that bad ones served."""
    _bad: int = 0
    _at: float = 0.0

    def __call__(self, seconds: float, world: World) -> bool:
        self.bad_seconds += self._bad * (seconds - self._at)
        serving = [item for item in world if item.state is State.READY]
        self._at, self._bad = seconds, sum(item.generation == BAD for item in serving)
        self.healthy = min(self.healthy, len(serving) - self._bad)
        if any(item.generation == BAD and item.state is not State.INACTIVE for item in world):
            self.clean = 0.0
        elif not self.clean:
            self.clean = seconds
        return False


@dataclass(frozen=True, slots=True)
class Recovery:
    """One way back. Times in seconds."""

    no_bad_left: float
    done: float
    bad_service: float
    starts: int
    healthy_stopped: int
    least_healthy: int
    least: int


ROWS = {
    "no_bad_left": "seconds until no bad instance is left",
    "done": "seconds until all is as wanted",
    "bad_service": "instance-seconds that bad ones served",
    "starts": "instances started",
    "healthy_stopped": "healthy left-overs stopped",
    "least_healthy": "least healthy capacity",
    "least": "least capacity",
}


def recover(story: Story, pool: World, goal: Goal, planner: Planner) -> Recovery:
    """Go back from `pool` to `goal`."""
    watch = Watch()
    watch(0.0, pool)
    ended = simulate(goal, pool, durations=story.durations, planner=planner, until=watch)
    if ended.verdict is not Verdict.DONE:
        raise RuntimeError(f"the way back ended {ended.verdict}: {ended.reason}")
    good = {item.number for item in pool if item.generation == GOOD}
    return Recovery(
        no_bad_left=round(watch.clean, 1),
        done=round(ended.seconds, 1),
        bad_service=round(watch.bad_seconds, 1),
        starts=ended.starts[BACK],
        healthy_stopped=len(good & {*ended.stops}),
        least_healthy=watch.healthy,
        least=ended.floor,
    )


def compare(story: Story) -> dict[str, Recovery]:
    """Both ways back from the same pool."""
    pool, goal = story.before(), story.goal(BACK)
    adopting = replace(goal, same=frozenset({GOOD}), proven=True)
    return {
        "deployd": recover(story, pool, adopting, plan),
        "oldest first, no adoption": recover(story, pool, goal, oldest_first),
    }


def table(story: Story, found: dict[str, Recovery]) -> str:
    """The story in a line, then a row for each figure."""
    parts = Counter(item.generation for item in story.before() if item.state is State.READY)
    told = [
        f"{story.instances} instances: {parts[GOOD]} healthy of generation {GOOD}, {parts[CANCELLED]} of the cancelled"
        f" generation {CANCELLED}, {parts[BAD]} of the bad generation {BAD};",
        f"boot {story.boot:g} s, stop {story.stop:g} s, max_surge {story.surge}, max_unavailable {story.unavailable}",
        "",
    ]
    lines = [("", *found)]
    lines += [(what, *(f"{getattr(way, name):.10g}" for way in found.values())) for name, what in ROWS.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        told.append("  ".join(cells).rstrip())
    return "\n".join(told) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        prog="python3 -m tests.bench.recovery",
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    usual = Story()
    arguments.add_argument("--instances", type=at_least(2), default=usual.instances, help="the size of the pool")
    arguments.add_argument("--boot", type=seconds, default=usual.boot, help="seconds from start to READY=1")
    arguments.add_argument("--stop", type=seconds, default=usual.stop, help="seconds from SIGTERM to the end")
    arguments.add_argument("--cancelled", type=share, default=usual.cancelled, help="where generation 2 was cancelled")
    arguments.add_argument("--share", type=share, default=usual.share, help="of the pool that is bad when noticed")
    arguments.add_argument("--surge", type=at_least(0), default=usual.surge, help="max_surge, a count")
    arguments.add_argument(
        "--unavailable", type=at_least(0), default=usual.unavailable, help="max_unavailable, a count"
    )
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    given = vars(arguments.parse_args(argv))
    as_json = given.pop("json")
    story = Story(**given)
    if not story.surge and not story.unavailable:
        arguments.error("with neither --surge nor --unavailable nothing could move")
    found = compare(story)
    if as_json:
        print(json.dumps({"story": asdict(story), "ways": {name: asdict(way) for name, way in found.items()}}))
    else:
        print(table(story, found), end="")
    return 0


def share(text: str) -> float:
    """A part of the pool: `25%` or 0.25."""
    part = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < part <= 1:
        raise ValueError(text)
    return part


def seconds(text: str) -> float:
    found = float(text)
    if not 0 <= found < 86400:
        raise ValueError(text)
    return found


def at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        found = int(text)
        if found < least:
            raise ValueError(text)
        return found

    return count


if __name__ == "__main__":
    sys.exit(main())
