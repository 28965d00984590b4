"""The process types of one app, the app itself first: their rollouts to a generation go in step (plan/in_step.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from deployd.model.app import WEB, App
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Result
from deployd.model.pace import OnFailure
from deployd.plan import in_step
from deployd.plan.in_step import Member, Move, Step
from deployd.plan.transitions import Event, advance
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.recorder import Finish, Recorder
from deployd.state.history import History


@dataclass(slots=True)
class _Part:
    """One process type: what records and ends its rollout, and what makes its control loop look again."""

    recorder: Recorder
    lifecycle: Lifecycle
    wake: Callable[[], None]
    shown: Member | None = None
    """Its rollout as the others have seen it last."""


class Members:
    """Of the app `application`. Methods raise StateError if the history cannot be read."""

    def __init__(self, application: str, history: History) -> None:
        self.application = application
        self._history = history
        self._parts: dict[str, _Part] = {}

    def add(self, name: str, recorder: Recorder, lifecycle: Lifecycle, wake: Callable[[], None]) -> None:
        """Add a process type, called `name` with its app, in place of an earlier one of that name."""
        self._parts[name] = _Part(recorder, lifecycle, wake)

    def drop(self, name: str) -> None:
        """Forget a process type: it is removed with its app."""
        self._parts.pop(name, None)

    @property
    def are_several(self) -> bool:
        """True if the app has, or had, further process types."""
        return len(self._parts) > 1

    def step(self, name: str) -> Step:
        """Return what the active rollout of a process type does next."""
        active = self._parts[name].recorder.active
        if active is None:
            return Step(Move.GO)
        mine, others = self._divided(name, active.rollout.target)
        return in_step.step(mine, others)

    def failure(self, name: str, step: Step) -> Failure:
        """Return why the rollout of a process type fails because of another one."""
        number = self._number(name)
        settings = self._settings(number)
        members = () if settings is None else settings.members
        it = next((item for item in members if _process(item) == step.of), None)
        part = None if it is None else self._parts.get(it.name)
        active = None if part is None else part.recorder.active
        found = None if active is None else active.failure
        if found is None and it is not None and (past := self._history.generation(it.name, number)) is not None:
            found = past.failure
        reason = in_step.reason_of(step.of, step.reason, map(_process, members))
        # An instance of another process type, which has the same number as one of this.
        return replace(found or Failure(GateName.STAY_UP, ""), reason=reason, instance=None)

    def reason(self, name: str, step: Step) -> str:
        """Return the reason of a step with the process type that it comes from."""
        settings = self._settings(self._number(name))
        return in_step.reason_of(step.of, step.reason, map(_process, () if settings is None else settings.members))

    def finish(self, name: str) -> bool:
        """End the rollouts of all process types, in one transaction, if they are all as far; False if not."""
        if self.step(name).move is not Move.FINISH:
            return False
        number, ended = self._number(name), []
        for part in self._parts.values():
            active = part.recorder.active
            if active is None or active.rollout.target != number:
                continue
            result = advance(active.rollout, Event.DONE, OnFailure.ROLLBACK)
            if active.settled is not None and isinstance(result, Result):
                ended.append((part, Finish(part.recorder, active, result, active.settled)))
        self._parts[name].recorder.finish_all([item for _, item in ended])
        for part, _ in ended:
            part.lifecycle.ended()
        return True

    def others_are_ready(self, name: str) -> bool:
        """True if the rollouts of all others have come to their end, or have ended."""
        _, others = self._divided(name, self._number(name))
        return all(item.settled or item.phase is None for item in others)

    def show(self, name: str) -> None:
        """Have the others look again if the rollout of a process type has come further, or has ended."""
        part = self._parts.get(name)
        if part is None or not self.are_several:
            return
        active = part.recorder.active
        shown = None if active is None else self._active(part, active.target.settings)
        if shown != part.shown:
            part.shown = shown
            for other in self._parts.values():
                if other is not part:
                    other.wake()

    def has_left(self, name: str) -> bool:
        """True if the current generation of the app has no such process type, and no rollout is in progress."""
        app = self._parts.get(self.application)
        if name == self.application or app is None or any(item.recorder.active for item in self._parts.values()):
            return False
        settings = app.recorder.settings()
        return settings is not None and all(item.name != name for item in settings.processes)

    def _number(self, name: str) -> int:
        rollout = self._parts[name].recorder.rollout
        return 0 if rollout is None else rollout.target

    def _divided(self, name: str, number: int) -> tuple[Member, list[Member]]:
        """Return the rollout of a process type to a generation, and those of the others."""
        part, settings = self._parts[name], self._settings(number)
        active = part.recorder.active
        mine = self._active(part, active.target.settings) if active is not None else None
        if settings is None or mine is None:
            return mine or Member(WEB), []
        others = (self._other(item, number) for item in settings.members if item.name != name)
        return mine, [item for item in others if item is not None]

    def _settings(self, number: int) -> App | None:
        """Return the settings of a generation of the app."""
        part = self._parts.get(self.application)
        active = None if part is None else part.recorder.active
        if active is not None and active.rollout.target == number:
            return active.target.settings
        return self._history.settings(self.application, number)

    def _active(self, part: _Part, settings: App) -> Member | None:
        active = part.recorder.active
        if active is None:
            return None
        rollout = active.rollout
        return Member(
            _process(settings),
            settings.after,
            rollout.phase,
            rollout.pause,
            rollout.aborted,
            rollout.reason,
            tried=rollout.is_tried,
            begun=active.has_begun,
            arrived=active.arrived,
            settled=active.settled is not None,
        )

    def _other(self, settings: App, number: int) -> Member | None:
        """Return the rollout of another process type; None if nothing is known of it."""
        part = self._parts.get(settings.name)
        active = None if part is None else part.recorder.active
        if part is not None and active is not None and active.rollout.target == number:
            return self._active(part, settings)
        rollout = self._history.rollout(settings.name) if part is None else None
        if rollout is not None and rollout.target == number:  # its controller has yet to start
            return Member(_process(settings), settings.after, rollout.phase, rollout.pause, rollout.aborted)
        past = self._history.generation(settings.name, number)
        if past is None:
            return None
        succeeded = past.result is Result.SUCCEEDED
        aborted = past.result is Result.ABORTED
        return Member(
            _process(settings), settings.after, None, aborted=aborted, reason=past.reason, succeeded=succeeded
        )


def _process(settings: App) -> str:
    return settings.process or WEB
