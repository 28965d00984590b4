"""The writes of four rollouts (succeeded, rolled back, superseded, aborted) as operations on a History."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployd.model.app import App, Listen, ListenKind
from deployd.model.clock import Timestamp
from deployd.model.crashes import Crash, Crashes
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause, Generation, Result
from deployd.model.probation import Probation
from deployd.model.rollout import Phase, Rollout
from deployd.state.ends import Beginning, Ending
from deployd.state.history import History

SETTINGS = App("demo", "/srv/demo/current", ("/usr/bin/true",), (Listen(ListenKind.TCP, "8080"),), instances=2)


def generation(number: int, result: Result = Result.RUNNING, app: str = "demo") -> Generation:
    return Generation(
        app=app,
        number=number,
        release=f"/srv/{app}/{number}",
        settings=replace(SETTINGS, name=app, environment=(("TEXT", "ü\n'\""),)),
        fingerprint=f"{number:032x}",
        cause=Cause.ROLLOUT,
        result=result,
        reason="",
        started=1000.0 + number,
    )


def at(wall: float) -> Timestamp:
    """Return a moment of a machine that was booted at 1000 s on the wall clock."""
    return Timestamp(wall - 1000.0, wall, "boot")


FIRST = Rollout("demo", None, 1, started=1001.0)
SECOND = Rollout("demo", 1, 2, started=1002.0)
THIRD, FOURTH = Rollout("demo", 1, 3, started=1003.0), Rollout("demo", 1, 4, started=1004.0)
FAILURE = Failure(GateName.NOTIFY, "instance 4 did not say READY=1", instance=4, journal=("last words",))
BACK = replace(SECOND, phase=Phase.ROLLING_BACK, reason="instance 3 exited with status 3")

Operation = Callable[[History], None]
OPERATIONS: tuple[Operation, ...] = (
    lambda history: history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now()),
    lambda history: history.progress(replace(FIRST, passed=frozenset({1})), (), ()),
    lambda history: history.saw("demo", 1, 1, "a" * 32),
    lambda history: history.finish_together([Ending(FIRST, Result.SUCCEEDED, "")], at(1001.5)),
    lambda history: history.begin_together([Beginning(generation(2), SECOND)], Timestamp.now()),
    lambda history: history.progress(replace(SECOND, passed=frozenset({2, 3})), (1,), (2,)),
    lambda history: history.move(BACK),
    lambda history: history.finish_together([Ending(BACK, Result.ROLLED_BACK, BACK.reason)], at(1002.5)),
    lambda history: history.begin_together([Beginning(generation(3), THIRD)], Timestamp.now()),
    lambda history: history.crashed("demo", "b" * 32, {1: Crashes(1, invocation="c" * 32, count=2)}),
    lambda history: history.begin_together(
        [Beginning(generation(4), FOURTH, THIRD, "superseded by generation 4")], at(1004.0)
    ),
    lambda history: history.failed(FOURTH, FAILURE),
    lambda history: history.finish_together([Ending(FOURTH, Result.ABORTED, "aborted by request")], at(1004.5)),
    lambda history: history.log_crashes("demo", "b" * 32, [Crash(1, 1, 5.0, "was killed by SIGKILL", "c" * 32)]),
    lambda history: history.put_on_probation(Probation("demo", 1, None, "", 0.0, 1.0, 301.0, "b" * 32, 1305.0)),
    lambda history: history.end_probation("demo"),
    lambda history: history.deployed(generation(1, Result.SUCCEEDED, "other")),
    lambda history: history.prune("demo", {1, 2, 4}, "boot"),
    lambda history: history.retire("other"),
    lambda history: history.forget("other"),
)
