"""`python3 -m tests.bench.recovery`: compares deployd's rollback of a bad release with an oldest-first restart.

In the scenario a rollout of generation 2 was cancelled half-way, so that half of the pool are healthy instances of
generation 1. Generation 3 followed, passed the gate, had replaced a share of the pool when it was found to be bad, and
is rolled back. deployd makes generation 4 of the release of generation 1: it adopts the healthy instances, and stops
the newest generation first. The other one restarts all processes with that release, the oldest first. Everything is
simulated, at the same pace and with the same boot time; the figures are reproducible.
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
"""Generations of the scenario. BACK has the release of GOOD."""

World = tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """The parameters. Times are in seconds, shares are parts of the pool."""

    instances: int = 200
    boot: float = 5.0
    stop: float = 1.0
    cancelled: float = 0.5
    """Share of generation 2 when its rollout was cancelled."""
    share: float = 0.25
    """Share of bad instances when the rollback is requested."""
    surge: int = 1
    unavailable: int = 0

    @property
    def durations(self) -> Durations:
        return Durations(boot=lambda _number, _generation: self.boot, stop=lambda _number, _generation: self.stop)

    def goal(self, generation: int) -> Goal:
        return Goal(generation, self.instances, self.surge, self.unavailable)

    def before(self) -> World:
        """Return the pool when the rollback is requested."""
        pool: World = tuple(
            Instance(number, GOOD, State.READY, started=float(number), ready_since=number + self.boot)
            for number in range(1, self.instances + 1)
        )
        for generation, share in ((CANCELLED, self.cancelled), (BAD, self.share)):
            pool = self._roll(pool, generation, round(share * self.instances)).instances
        return pool

    def _roll(self, pool: World, generation: int, count: int) -> Outcome:
        """Roll out until `count` instances have been replaced."""

        def reached(_seconds: float, world: World) -> bool:
            alive = [item for item in world if item.state is not State.INACTIVE]
            settled = len(alive) == self.instances and all(item.state is State.READY for item in alive)
            return settled and sum(item.generation == generation for item in alive) >= count

        return simulate(self.goal(generation), pool, durations=self.durations, until=reached)


@dataclass(slots=True)
class Watch:
    """Observes the pool during the recovery."""

    clean: float = 0.0
    """Seconds until no bad instance was left."""
    healthy: int = sys.maxsize
    """The smallest number of healthy instances that served."""
    bad_seconds: float = 0.0
    """Instance-seconds of serving bad instances."""
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
    """The figures of one recovery. Times are in seconds."""

    no_bad_left: float
    done: float
    bad_service: float
    starts: int
    healthy_stopped: int
    least_healthy: int
    least: int


ROWS = {
    "no_bad_left": "seconds until no bad instance is left",
    "done": "seconds until the recovery is complete",
    "bad_service": "instance-seconds of serving bad instances",
    "starts": "instances started",
    "healthy_stopped": "healthy instances stopped",
    "least_healthy": "least healthy capacity",
    "least": "least capacity",
}


def recover(scenario: Scenario, pool: World, goal: Goal, planner: Planner) -> Recovery:
    """Simulate the recovery from `pool` to `goal`."""
    watch = Watch()
    watch(0.0, pool)
    ended = simulate(goal, pool, durations=scenario.durations, planner=planner, until=watch)
    if ended.verdict is not Verdict.DONE:
        raise RuntimeError(f"the recovery ended {ended.verdict}: {ended.reason}")
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


def compare(scenario: Scenario) -> dict[str, Recovery]:
    """Return both recoveries from the same pool."""
    pool, goal = scenario.before(), scenario.goal(BACK)
    adopting = replace(goal, same=frozenset({GOOD}), proven=True)
    return {
        "deployd": recover(scenario, pool, adopting, plan),
        "oldest first, no adoption": recover(scenario, pool, goal, oldest_first),
    }


def table(scenario: Scenario, found: dict[str, Recovery]) -> str:
    """Return the scenario in two lines, then a row for each figure."""
    parts = Counter(item.generation for item in scenario.before() if item.state is State.READY)
    text = [
        f"{scenario.instances} instances: {parts[GOOD]} healthy of generation {GOOD}, {parts[CANCELLED]} of the"
        f" cancelled generation {CANCELLED}, {parts[BAD]} of the bad generation {BAD};",
        f"boot {scenario.boot:g} s, stop {scenario.stop:g} s, max_surge {scenario.surge},"
        f" max_unavailable {scenario.unavailable}",
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
        text.append("  ".join(cells).rstrip())
    return "\n".join(text) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        prog="python3 -m tests.bench.recovery",
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    usual = Scenario()
    arguments.add_argument("--instances", type=at_least(2), default=usual.instances, help="the size of the pool")
    arguments.add_argument("--boot", type=seconds, default=usual.boot, help="seconds from start to READY=1")
    arguments.add_argument("--stop", type=seconds, default=usual.stop, help="seconds from SIGTERM to the end")
    arguments.add_argument(
        "--cancelled", type=share, default=usual.cancelled, help="share when generation 2 was cancelled"
    )
    arguments.add_argument("--share", type=share, default=usual.share, help="share of bad instances at the rollback")
    arguments.add_argument("--surge", type=at_least(0), default=usual.surge, help="max_surge, a count")
    arguments.add_argument(
        "--unavailable", type=at_least(0), default=usual.unavailable, help="max_unavailable, a count"
    )
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    given = vars(arguments.parse_args(argv))
    as_json = given.pop("json")
    scenario = Scenario(**given)
    if not scenario.surge and not scenario.unavailable:
        arguments.error("without --surge and --unavailable no instance could be replaced")
    found = compare(scenario)
    if as_json:
        print(
            json.dumps({"scenario": asdict(scenario), "recoveries": {name: asdict(way) for name, way in found.items()}})
        )
    else:
        print(table(scenario, found), end="")
    return 0


def share(text: str) -> float:
    """Parse a share of the pool: `25%` or 0.25."""
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
