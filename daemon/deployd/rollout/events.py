"""The events of one app: progress of its active rollout, for waiting clients and for the journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from deployd.model import unit_name
from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw
from deployd.model.clock import iso
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure
from deployd.model.generation import Cause, Result
from deployd.model.instance import Instance
from deployd.model.probation import Probation
from deployd.model.rollout import Phase
from deployd.rollout.active import ActiveRollout
from deployd.rollout.pauses import pause_fields

_ONCE = frozenset(
    {
        *(EventName.STARTED, EventName.FAILED_GATE, EventName.ROLLING_BACK, EventName.PAUSED, EventName.RESUMED),
        *(EventName.TAKEN_BACK, EventName.FINISHED),
    }
)
"""What the app reports for all of its process types."""


def of_process(process: str, emit: Emit) -> Emit:
    """Return what reports the events of a process type as events of its app, with its name."""

    def report(event: EventName, fields: dict[str, Any]) -> None:
        if event not in _ONCE and (event is not EventName.WATCH or fields["state"] == "failed"):
            emit(event, {**fields, "process": process})

    return report


class Events:
    """Makes the events of one app and passes them to `emit`."""

    def __init__(self, app: str, emit: Emit) -> None:
        self._app = app
        self._emit = emit
        self._active: ActiveRollout | None = None
        self._unanswered: dict[int, str] = {}

    def follow(self, active: ActiveRollout | None) -> None:
        """Attribute all events from now on to this rollout; None if none is under way."""
        self._active = active

    def emit(self, event: EventName, fields: dict[str, Any]) -> None:
        """Report an event. Adds `from` and `to`, so that waiting clients can match it to their rollout."""
        active = self._active
        rollout = {} if active is None else {"from": active.rollout.origin, "to": active.rollout.target}
        self._emit(event, {**rollout, **fields})

    def started(self, active: ActiveRollout, origin_release: str | None) -> None:
        """Report the start of a rollout, from the release of its origin to that of its target."""
        target = active.target
        self.emit(
            EventName.STARTED,
            {
                "from_release": origin_release,
                "release": target.release,
                "cause": str(target.cause),
                "reason": target.reason,
                "desired": target.settings.instances,
                "holds": [dataclasses.asdict(hold) for hold in active.rollout.holds],
            },
        )

    def began(self, action: Action) -> None:
        match action:
            case Start(number, generation):
                self.instance(number, generation, "starting")
            case Stop(number, generation, why):
                self.instance(number, generation, "draining" if action.drain else "stopping", self._why(why))
            case Adopt(number, generation):
                self.instance(number, generation, "adopted")
            case Freeze(number, generation):
                self.instance(number, generation, "freezing")
            case Thaw(number, generation):
                self.instance(number, generation, "thawing")

    def stopped(self, action: Stop, connections: int | None = None, problem: str = "") -> None:
        """Report that an instance has stopped, how many connections it had when the stop began, if known, and, as an
        event of its own, why it did not end as it was asked to, if it did not."""
        self.instance(action.number, action.generation, "stopped", self._why(action.why), connections)
        if not problem:
            return
        fields = {"instance": action.number, "generation": action.generation}
        self.emit(EventName.WARNING, {**fields, "reason": f"instance {action.number} {problem}"})
        if self._active is not None:
            self._active.note_problem(action.number, problem)

    def left_out(self, number: int, reason: str) -> None:
        """Report that an instance number cannot be used."""
        own = f"{unit_name.instance(self._app, number)} has drop-ins of its own, so another number is used"
        self.emit(EventName.WARNING, {"instance": number, "reason": f"{reason}; {own}"})

    def instance(
        self, number: int, generation: int | None, state: str, reason: str = "", connections: int | None = None
    ) -> None:
        fields: dict[str, Any] = {"instance": number, "generation": generation, "state": state}
        more = ({"reason": reason} if reason else {}) | ({} if connections is None else {"connections": connections})
        self.emit(EventName.INSTANCE, fields | more)

    def probing(self, asked: Collection[Instance]) -> None:
        """Report bad answers of these instances when they change."""
        unanswered = {item.number: item.probe_error for item in asked if item.probe_error}
        before, self._unanswered = self._unanswered, unanswered
        for item in asked:
            if item.probe_error and before.get(item.number) != item.probe_error:
                fields = {"instance": item.number, "generation": item.generation}
                self.emit(EventName.PROBE, {**fields, "reason": item.probe_error})

    def failed(self, failure: Failure) -> None:
        self.emit(
            EventName.FAILED_GATE,
            {"instance": failure.instance, "reason": failure.reason, "failure": dataclasses.asdict(failure)},
        )

    def moved(self, active: ActiveRollout, *, closing: bool = False) -> None:
        """Report the phase that the rollout has entered.

        `closing` is True if it replaces instances once more, to close an address.
        """
        rollout = active.rollout
        fields: dict[str, Any] = {"reason": rollout.reason}
        if rollout.phase is Phase.PAUSED:
            fields |= pause_fields(rollout, active.target.irreversible)
        names = {
            Phase.ROLLING: EventName.RESUMED,
            Phase.ROLLING_BACK: EventName.ROLLING_BACK,
            Phase.PAUSED: EventName.PAUSED,
        }
        self.emit(EventName.CLOSING if closing else names[rollout.phase], fields)

    def finished(
        self, active: ActiveRollout, result: Result, reason: str, duration: float, probation: Probation | None = None
    ) -> None:
        """Report the result of a rollout, which took `duration` seconds, and the probation that follows."""
        rollout, target = active.rollout, active.target
        self._emit(
            EventName.FINISHED,
            {
                "result": str(result),
                "reason": reason,
                "generation": rollout.target,
                "from": rollout.origin,
                "to": rollout.target,
                "replaced": list(active.replaced),
                "adopted": list(active.adopted),
                "failure": dataclasses.asdict(active.failure) if active.failure is not None else None,
                "duration": round(duration, 3),
                "watched_until": None if probation is None else iso(probation.ends),
            },
        )
        if result is Result.SUCCEEDED and target.cause is Cause.WATCH:
            fields = {"generation": rollout.origin, "by": rollout.target, "reason": target.reason}
            self._emit(EventName.TAKEN_BACK, fields)
        if probation is not None:
            fields = {"generation": rollout.target, "state": "started", "until": iso(probation.ends)}
            self._emit(EventName.WATCH, {**fields, "reason": probation.stays})

    def _why(self, why: str) -> str:
        active = self._active
        back = active is not None and active.rollout.phase is Phase.ROLLING_BACK and why == "replaced"
        return "rolled back" if back else why
