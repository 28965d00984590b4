"""Generated statuses of apps: documents that the daemon makes of generated snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from deployd.documents.status import Snapshot, status
from deployd.model.address import Address
from deployd.model.app import Routing
from deployd.model.crashes import Crashes, Trouble
from deployd.model.generation import Cause, Result
from deployd.model.host_drain import HostDrain
from deployd.model.instance import Instance, State
from deployd.model.probation import Probation
from deployd.model.rollout import Pause, Phase, Rollout
from deployd.model.timer import TimerState
from deployd.plan.boots import Boots
from deployd.routing import Report
from deployd.routing.report import Share
from deployd.state.totals import CRASHES, Total
from tests.state.four_rollouts import generation

CLOSED = Address("[::]:81", "demo.socket", open=False, reason="in use by nginx | see ss(8)")
OPEN = Address("[::]:80", "demo.socket", open=True)
PAUSED = [
    *(Rollout("demo", 7, 8, phase=Phase.PAUSED, pause=pause) for pause in Pause if pause),
    Rollout("demo", None, 8, phase=Phase.PAUSED, pause=Pause.REQUESTED),
]
TIMER = TimerState("nightly", True, None, False, 1_700_000_000.0, 1_700_000_009.0, "exit-code", 3, None, 7)
ROLLOUTS = [None, None, Rollout("demo", 7, 8), Rollout("demo", 7, 8, phase=Phase.ROLLING_BACK), *PAUSED]
ENDED = [item for item in Result if item is not Result.RUNNING]
WATCHED = Probation("demo", 7, 6, "", 0.0, 0.0, 300.0, "boot", ends=1_700_000_300.0)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Return any app, deployed or not."""
    numbers = range(1, draw(st.integers(0, 6)) + 1)
    instances = tuple(
        Instance(
            number,
            draw(st.sampled_from([7, 8, None])),
            draw(st.sampled_from([State.READY, State.READY, *State])),
            started=10.0,
            ready_since=12.5,
            restarts=draw(st.integers(0, 3)),
            detail="exited with status 1 after it was ready",
        )
        for number in numbers
    )
    crashing = Trouble(Crashes(7, count=5, times=(1.0,), at=9.0, why="was killed by SIGKILL", retry_at=20.0))
    rollout = draw(st.sampled_from(ROLLOUTS))
    deployed = draw(st.booleans()) or rollout is not None
    last = replace(generation(7, draw(st.sampled_from(ENDED))), cause=draw(st.sampled_from(Cause)), reason="why")
    steered = draw(st.booleans())
    return Snapshot(
        "demo",
        generation=generation(7, Result.SUCCEEDED) if deployed else None,
        rollout=rollout,
        target=generation(8) if rollout else None,
        instances=instances,
        releases={7: "/srv/demo/7", 8: "/srv/demo/8"},
        desired=draw(st.integers(0, 4)) if deployed else 0,
        boot=1_700_000_000.0,
        troubles={number: crashing for number in numbers if draw(st.integers(0, 5)) == 0},
        restarts={},
        boots=draw(st.none() | st.just(Boots(count=9, median=0.2, max=0.5))),
        routing=_steered(instances, draw) if steered else Report(addresses=tuple(draw(_ADDRESSES))),
        standby=None,
        up=draw(st.sampled_from([True, True, True, False])),
        probation=draw(st.sampled_from([None, WATCHED, replace(WATCHED, failed="it crashed")])),
        crashes=0,
        last=last if rollout is None and draw(st.booleans()) else None,
        totals=draw(_TOTALS),
        fence=draw(st.sampled_from([None, replace(generation(7), fleet="release-7", token=9)])),
        drain=draw(
            st.sampled_from([None, HostDrain("", 1_700_000_000.0), HostDrain("demo", 1_700_000_000.0, "why | not")])
        ),
        history_error=draw(st.sampled_from(["", "", "", "history.sqlite is damaged"])),
        timers=draw(st.sampled_from([(), (TIMER,), (replace(TIMER, result="success"), replace(TIMER, name="x"))])),
    )


_COUNTED = st.builds(Total, st.integers(0, 1000), st.floats(0.0, 1e6))
_TOTALS = st.dictionaries(st.sampled_from([*map(str, ENDED), CRASHES]), _COUNTED)
_ADDRESSES = st.lists(st.sampled_from([OPEN, OPEN, CLOSED, replace(OPEN, address=CLOSED.address)]), max_size=3)


def _steered(instances: tuple[Instance, ...], draw: st.DrawFn) -> Report:
    known = draw(st.booleans())
    counted = {item.number: draw(st.integers(0, 9)) for item in instances} if known else {}
    return Report(
        routing=Routing.STEERED,
        steering="ebpf",
        weights={item.number: 25.0 for item in instances},
        connections=counted,
        in_flight=counted,
        queues=counted,
        shares=(Share(8, draw(st.none() | st.just(20.0)), None, 5), Share(7, None, 80.0, 20)),
        addresses=(OPEN,),
    )


statuses: st.SearchStrategy[Mapping[str, Any]] = snapshots().map(status)
