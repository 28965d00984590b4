"""What a rollout tells while it goes on: its events, each naming the rollout it belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure
from deployd.model.generation import Result
from deployd.model.instance import Instance
from deployd.model.rollout import Phase, Rollout
from deployd.rollout.active import ActiveRollout
from deployd.rollout.pauses import standing


class Events:
    """Told to `tell`; `course` is asked for the rollout under way each time."""

    def __init__(self, app: str, tell: Emit, course: Callable[[], ActiveRollout | None]) -> None:
        self._app = app
        self._emit = tell
        self._course = course
        self._unanswered: dict[int, str] = {}

    def tell(self, event: EventName, fields: dict[str, Any]) -> None:
        """Each names its rollout, or those who wait for one could not tell whose it is."""
        course = self._course()
        whose = {} if course is None else {"from": course.rollout.origin, "to": course.rollout.target}
        self._emit(event, {**whose, **fields})

    def started(self, course: ActiveRollout) -> None:
        target = course.target
        self.tell(
            EventName.STARTED,
            {
                "release": target.release,
                "cause": str(target.cause),
                "desired": target.settings.instances,
                "holds": [dataclasses.asdict(hold) for hold in course.rollout.holds],
            },
        )

    def began(self, action: Action) -> None:
        match action:
            case Start(number, generation):
                self.instance(number, generation, "starting")
            case Stop(number, generation, why):
                self.instance(number, generation, "stopping", self._why(why))
            case Adopt(number, generation):
                self.instance(number, generation, "adopted")
            case Freeze(number, generation):
                self.instance(number, generation, "freezing")
            case Thaw(number, generation):
                self.instance(number, generation, "thawing")

    def stopped(self, action: Stop, connections: int | None = None) -> None:
        """`connections` that it still had when it was asked to stop, if that is known."""
        self.instance(action.number, action.generation, "stopped", self._why(action.why), connections)

    def instance(
        self, number: int, generation: int | None, state: str, reason: str = "", connections: int | None = None
    ) -> None:
        fields: dict[str, Any] = {"instance": number, "generation": generation, "state": state}
        more = ({"reason": reason} if reason else {}) | ({} if connections is None else {"connections": connections})
        self.tell(EventName.INSTANCE, fields | more)

    def probing(self, asked: Collection[Instance]) -> None:
        """Those whose probes decide: tell of each that is not answered as it should be, when that changes."""
        unanswered = {item.number: item.probe_error for item in asked if item.probe_error}
        before, self._unanswered = self._unanswered, unanswered
        for item in asked:
            if item.probe_error and before.get(item.number) != item.probe_error:
                fields = {"instance": item.number, "generation": item.generation}
                self.tell(EventName.PROBE, {**fields, "reason": item.probe_error})

    def failed(self, failure: Failure) -> None:
        self.tell(
            EventName.FAILED_GATE,
            {"instance": failure.instance, "reason": failure.reason, "failure": dataclasses.asdict(failure)},
        )

    def turned(self, rollout: Rollout, *, closing: bool = False) -> None:
        """It went to another phase, or over its instances once more."""
        fields: dict[str, Any] = {"reason": rollout.reason}
        course = self._course()
        if rollout.phase is Phase.PAUSED and course is not None:
            fields |= standing(rollout, course.target.irreversible)
        names = {
            Phase.ROLLING: EventName.RESUMED,
            Phase.ROLLING_BACK: EventName.ROLLING_BACK,
            Phase.PAUSED: EventName.PAUSED,
        }
        self.tell(EventName.CLOSING if closing else names[rollout.phase], fields)

    def finished(self, course: ActiveRollout, result: Result, reason: str, duration: float) -> None:
        """`duration` in seconds."""
        rollout = course.rollout
        self._emit(
            EventName.FINISHED,
            {
                "result": str(result),
                "reason": reason,
                "generation": rollout.target,
                "from": rollout.origin,
                "to": rollout.target,
                "replaced": list(course.replaced),
                "adopted": list(course.adopted),
                "failure": dataclasses.asdict(course.failure) if course.failure is not None else None,
                "duration": round(duration, 3),
            },
        )

    def _why(self, why: str) -> str:
        course = self._course()
        back = course is not None and course.rollout.phase is Phase.ROLLING_BACK and why == "replaced"
        return "rolled back" if back else why
