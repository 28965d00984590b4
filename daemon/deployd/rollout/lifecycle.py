"""The life of a rollout: from phase to phase by the table in plan/transitions.py, to its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from deployd.instances.actuator import Actuator
from deployd.instances.observer import Observer
from deployd.model import advice
from deployd.model.action import Action, Start, Stop
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Generation, Result
from deployd.model.pace import OnFailure
from deployd.model.rollout import Pause, Phase
from deployd.plan.planner import World, retry
from deployd.plan.transitions import Event, advance
from deployd.rollout.active import ActiveRollout
from deployd.rollout.analysis import Analysis
from deployd.rollout.cleanup import Cleanup
from deployd.rollout.recorder import Recorder


class Lifecycle:
    """Moves the rollouts of one app. `moved` is called after each change of phase, and when a rollout has ended.

    Methods raise StateError if the history cannot be written.
    """

    def __init__(
        self,
        recorder: Recorder,
        observer: Observer,
        actuator: Actuator,
        analysis: Analysis,
        cleanup: Cleanup,
        *,
        moved: Callable[[], None],
    ) -> None:
        self._recorder = recorder
        self._observer = observer
        self._actuator = actuator
        self._analysis = analysis
        self._cleanup = cleanup
        self._moved = moved

    def act(self, actions: Iterable[Action], generation: Generation) -> None:
        """Begin actions by the settings of `generation`, the starts together."""
        starts: list[Start] = []
        for action in actions:
            self._recorder.acting(action)
            if isinstance(action, Start):
                starts.append(action)
            else:
                self._actuator.act(action, generation.settings)
        if starts:
            self._actuator.start_all(starts, generation.settings)

    def advance(self, active: ActiveRollout, event: Event, reason: str, culprit: int | None = None) -> bool:
        """Move to the phase that `event` leads to; False if the event makes no sense in the present phase.

        `culprit` is the instance that failed, if one did.
        """
        rollout, target = active.rollout, active.target
        on_failure = OnFailure.PAUSE if target.irreversible else target.settings.pace.on_failure
        if event is Event.FAILED and rollout.phase is Phase.ROLLING_BACK:
            reason = f"{rollout.reason}; rolling back failed: {reason}"
        # A pause must not depend on anything that may be the reason for it.
        trusted = frozenset[int]() if event is Event.BLOCKED else active.trusted(self._actuator.observe())
        following = advance(rollout, event, on_failure, reason, trusted)
        if following is None:
            return False
        if isinstance(following, Result):
            self.finish(active, following, reason)
            return True
        self._recorder.move(active, following, event)
        self._observer.stop_probes()
        if following.pause is Pause.FAILED and culprit is not None:
            # No client reaches it, and systemd would restart it again and again during the pause.
            self.act([Stop(culprit, following.target, "failed")], target)
        if event is Event.RESUME:
            self._retry(active)
        self._moved()
        return True

    async def fail(self, active: ActiveRollout, failure: Failure) -> None:
        """Report a failed gate with the last lines of its instance, then roll back or pause."""
        rollout = active.rollout
        failure = await self._observer.with_journal(failure)
        if active.over or active.rollout is not rollout:
            return  # superseded, paused or aborted while the journal was read
        self._recorder.fail(active, failure)
        self.advance(active, Event.FAILED, failure.reason, failure.instance)

    async def release_missing(self, active: ActiveRollout, reason: str) -> None:
        """Fail because the release of the aim is missing, before an instance is stopped for it; a rollback pauses."""
        if active.rollout.phase is Phase.ROLLING_BACK:
            self.advance(active, Event.STRANDED, f"{active.rollout.reason}; rollback is impossible: {reason}")
        else:
            await self.fail(active, Failure(GateName.RELEASE, reason))

    async def app_stopped(self, active: ActiveRollout, is_stopped: Callable[[], Awaitable[bool]]) -> bool:
        """Abort once all instances of an app that was stopped by hand are down; False until then, or if superseded."""
        if not await self._cleanup.restore_origin(active, is_stopped) or active.over:
            return False
        self.finish(active, Result.ABORTED, f"the app was stopped ({advice.systemctl()} stop {active.rollout.app})")
        return True

    def _retry(self, active: ActiveRollout) -> None:
        """Forget the failure of a resumed rollout, and stop what failed."""
        if active.failure is not None and active.rollout.phase is Phase.ROLLING:
            self._recorder.set_failure(active, None)
        now = Timestamp.now()
        aim = self._recorder.find_aim(active, now)
        world = World(self._actuator.observe(), active.rollout.passed)
        self.act(retry(aim.goal, world, now.monotonic), aim.generation)

    def finish(self, active: ActiveRollout, result: Result, reason: str) -> None:
        """End the active rollout with its result."""
        self._recorder.finish(active, result, reason)
        self.ended()

    def ended(self) -> None:
        """Clean up after a rollout whose result is recorded."""
        self._analysis.end()
        self._observer.stop_probes()
        self._moved()  # the next turn updates routing and standby
        self._cleanup.prune()
