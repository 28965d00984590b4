"""One app's control loop: observe, plan, act; and the rollout that it carries through to its end.

Signals, timers and requests only wake the loop; what to do is recomputed from the world each time. It starts
nothing on its own: without a rollout under way it only watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from deployd.deployment import Deployment
from deployd.errors import DeploydError, StateError, SystemdError
from deployd.history import History
from deployd.instances import Instances
from deployd.model.action import Action, Adopt, Start, Stop
from deployd.model.app import App, OnFailure
from deployd.model.generation import Generation, Result
from deployd.model.instance import Instance, State
from deployd.model.rollout import Phase, Rollout
from deployd.pins import Pins
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan
from deployd.plan.transitions import Event, advance
from deployd.systemd1 import Systemd

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until the loop tries again after systemd or the disk refused, when nothing wakes it earlier."""

Tell = Callable[[str, dict[str, Any]], None]
"""(event, fields): one line of a rollout's progress."""


class Controller:
    """The app `name`. Make it, then :meth:`start`; requests come through :meth:`begin` and the phase methods."""

    def __init__(
        self,
        name: str,
        systemd: Systemd,
        history: History,
        pins: Pins,
        deployment: Deployment,
        *,
        tell: Tell,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._systemd = systemd
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._tell = tell
        self._report_change = changed
        self.instances = Instances(
            name,
            systemd,
            pins,
            changed=self.wake,
            stopped=self._on_stopped,
            failed=self._on_shell_error,
        )
        self.rollout: Rollout | None = None
        self._target: Generation | None = None
        self._goal: tuple[tuple[int, Phase], Goal, App] | None = None
        self._replaced: tuple[int, ...] = ()
        self._adopted: tuple[int, ...] = ()
        self._umbrella_seen = False
        self._stale = True
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._blocked: DeploydError | None = None
        self._seen: tuple[Instance, ...] = ()
        self._recorded: set[str] = set()

    @property
    def umbrella(self) -> str:
        return f"{self.name}.service"

    def start(self) -> None:
        """Take up the rollout that history knows of, if any, and begin to watch."""
        self._resume_from_history()
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Leave the loop; instances and jobs go on without us."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        self._wake.set()

    def on_unit_change(self, unit: str) -> None:
        """A unit changed; "" when all may have."""
        if unit == "":
            self._stale = True
            self.wake()
        elif self.instances.owns(unit) or unit == self.umbrella:
            self.wake()

    # Requests.

    async def ready(self) -> None:
        """Wait until the loop has looked at the world once. Raises SystemdError."""
        await self._look()

    def begin(self, generation: Generation, origin: int | None) -> None:
        """Start rolling out a new generation whose files are written. Raises StateError."""
        rollout = Rollout(self.name, origin, generation.number, started=generation.started)
        self._history.begin(generation, rollout)
        self._adopt_rollout(rollout, generation)
        if not self._is_up():
            # Starting the umbrella starts whatever is pinned: of a stopped app that would be the old generation.
            for item in self.instances.observe():
                if item.state is State.INACTIVE and item.generation is not None:
                    self._pins.unpin(self.name, item.number)
        self._tell(
            "started",
            {"from": origin, "to": generation.number, "release": generation.release, "cause": str(generation.cause)},
        )
        self.wake()

    def send(self, event: Event, reason: str = "") -> bool:
        """Pause, resume or abort the rollout under way; False where that makes no sense. Raises StateError."""
        if self.rollout is None:
            return False
        return self._advance(event, reason)

    def observe(self) -> tuple[Instance, ...]:
        return self.instances.observe()

    # The loop.

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._step()
            except StateError as error:
                self._on_shell_error(error)
                self._look_again(RETRY)
            except SystemdError as error:
                log.warning("%s: %s; trying again", self.name, error)
                self._look_again(RETRY)
            except Exception:
                # The daemon never dies of one app's trouble.
                log.exception("%s: unexpected error; trying again", self.name)
                self._stale = True
                self._look_again(RETRY)
            await self._wake.wait()

    async def _step(self) -> None:
        await self._look()
        self._note_changes()
        if self._blocked is not None:
            error, self._blocked = self._blocked, None
            self._advance(Event.BLOCKED, str(error))
        if self.rollout is None or self.rollout.phase is Phase.PAUSED:
            return
        if not await self._prepare():
            return
        goal, settings = self._current_goal()
        rollout = self.rollout
        result = plan(goal, World(self.instances.observe(), rollout.passed), time.monotonic())
        self._remember(rollout, result)
        if result.verdict is Verdict.DONE:
            self._advance(Event.DONE, rollout.reason)
        elif result.verdict is Verdict.FAILED:
            self._tell("failed-gate", {"instance": result.culprit, "reason": result.reason})
            self._advance(Event.FAILED, result.reason, result.culprit)
        else:
            for action in result.actions:
                self._act(action, settings)
            if result.wake_at is not None:
                self._look_again(max(0.0, result.wake_at - time.monotonic()))
        self._note_changes()

    async def _look(self) -> None:
        """Read the world afresh where the mirror may have missed something."""
        if self._stale:
            self._stale = False
            try:
                await self._systemd.resubscribe()
                await self._systemd.watch(self.umbrella)
                await self._systemd.refresh(self.umbrella)
                await self.instances.discover()
            except SystemdError:
                self._stale = True
                raise

    async def _prepare(self) -> bool:
        """Units as the goal wants them, the socket open, the umbrella up; False when the app was stopped by hand."""
        assert self.rollout is not None
        if self._goal is None or self._goal[0] != (self.rollout.target, self.rollout.phase):
            goal, settings = self._make_goal()
            pinned = max(self._pins.read(self.name), default=0)
            if goal.generation:
                await self._deployment.install(settings, max(goal.ceiling, pinned))
            self._goal = ((self.rollout.target, self.rollout.phase), goal, settings)
        if self._is_up():
            self._umbrella_seen = True
            return True
        if not self._umbrella_seen and not self._current_goal()[0].instances:
            return True
        if not self._umbrella_seen:
            # Whatever is pinned comes up with it; for a first rollout that is nothing.
            job = await self._systemd.start(self.umbrella)
            self._umbrella_seen = True
            del job  # its instances may take long: the plan watches them one by one
            return True
        if await self._systemd.is_stopping():
            # The machine goes down: the rollout goes on when it is up again.
            return False
        await self._stopped_by_hand()
        return False

    def _is_up(self) -> bool:
        return self._systemd.properties(self.umbrella).get("ActiveState") in ("active", "reloading", "activating")

    async def _stopped_by_hand(self) -> None:
        """`systemctl stop NAME` in mid-rollout: it ends there, and the next start is of where it came from."""
        assert self.rollout is not None
        await self.instances.settle()
        if any(item.state is not State.INACTIVE for item in self.instances.observe()):
            return
        rollout = self.rollout
        for number in self._pins.read(self.name):
            self._pins.unpin(self.name, number)
        origin = self._history.generation(self.name, rollout.origin) if rollout.origin is not None else None
        if origin is not None:
            for number in range(1, origin.settings.instances + 1):
                self._pins.pin(self.name, number, origin.number)
        self._finish(rollout, Result.ABORTED, f"the app was stopped (systemctl stop {self.name})")

    def _make_goal(self) -> tuple[Goal, App]:
        assert self.rollout is not None
        assert self._target is not None
        rollout = self.rollout
        if rollout.phase is Phase.ROLLING_BACK:
            if rollout.origin is None:
                return Goal(0, 0, max_unavailable=0), self._target.settings
            generation = self._history.generation(self.name, rollout.origin)
            if generation is None:
                raise StateError(f"generation {rollout.origin} of {self.name} is missing from the history")
            deadline = None
        else:
            generation = self._target
            deadline = time.monotonic() + rollout.started + generation.settings.pace.deadline - time.time()
        same = frozenset(
            item.number for item in self._history.generations(self.name) if item.fingerprint == generation.fingerprint
        )
        return Goal.of(generation.settings, generation.number, same=same, deadline=deadline), generation.settings

    def _current_goal(self) -> tuple[Goal, App]:
        assert self._goal is not None
        return self._goal[1], self._goal[2]

    def _act(self, action: Action, settings: App) -> None:
        match action:
            case Start(number, generation):
                self._tell("instance", {"instance": number, "generation": generation, "state": "starting"})
            case Stop(number, generation, why):
                fields = {"instance": number, "generation": generation, "state": "stopping", "reason": why}
                self._tell("instance", fields)
            case Adopt(number, generation):
                self._tell("instance", {"instance": number, "generation": generation, "state": "adopted"})
        self.instances.act(action, settings.pace.deadline, settings.stop.timeout)

    def _remember(self, rollout: Rollout, result: Plan) -> None:
        """Write down who passed before anything is done because of it."""
        adopted = {action.number for action in result.actions if isinstance(action, Adopt)}
        for number in sorted(result.passed - rollout.passed - adopted):
            self._tell("instance", {"instance": number, "generation": rollout.goal, "state": "ready"})
        if rollout.phase is Phase.ROLLING:
            self._adopted += tuple(sorted(adopted - set(self._adopted)))
        if result.passed != rollout.passed or adopted:
            self.rollout = replace(rollout, passed=result.passed)
            self._history.progress(self.rollout, self._replaced, self._adopted)

    def _on_stopped(self, action: Stop) -> None:
        fields = {"instance": action.number, "generation": action.generation, "state": "stopped", "reason": action.why}
        self._tell("instance", fields)
        rollout = self.rollout
        if rollout is not None and rollout.phase is Phase.ROLLING and action.generation != rollout.target:
            self._replaced += (action.number,)

    def _on_shell_error(self, error: DeploydError) -> None:
        """An action could not be carried out. A full disk will not mend itself by trying; systemd may."""
        if isinstance(error, StateError) and self.rollout is not None and self.rollout.phase is not Phase.PAUSED:
            log.error("%s: %s", self.name, error)
            self._blocked = error
        else:
            log.warning("%s: %s; trying again", self.name, error)
        self._look_again(RETRY)

    def _look_again(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self.wake)

    def _note_changes(self) -> None:
        """Tell watchers what is different, and keep which invocation belonged to which generation."""
        seen = self.instances.observe()
        for item in seen:
            if item.generation is not None and item.invocation_id and item.invocation_id not in self._recorded:
                self._recorded.add(item.invocation_id)
                with contextlib.suppress(StateError):
                    self._history.saw(self.name, item.generation, item.number, item.invocation_id)
        if seen != self._seen:
            self._seen = seen
            self._report_change()

    # The rollout's life.

    def _resume_from_history(self) -> None:
        rollout = self._history.rollout(self.name)
        generation = self._history.generation(self.name, rollout.target) if rollout is not None else None
        if rollout is not None and generation is not None:
            log.info("%s: taking up the rollout of generation %d (%s)", self.name, rollout.target, rollout.phase)
            self._adopt_rollout(rollout, generation)

    def _adopt_rollout(self, rollout: Rollout, generation: Generation) -> None:
        self.rollout, self._target, self._goal = rollout, generation, None
        self._replaced, self._adopted = generation.replaced, generation.adopted
        self._umbrella_seen = False

    def _advance(self, event: Event, reason: str, culprit: int | None = None) -> bool:
        assert self.rollout is not None
        assert self._target is not None
        rollout = self.rollout
        trusted = frozenset(
            item.number for item in self.instances.observe() if self._is_origins(item) and item.state is State.READY
        )
        settings = self._target.settings
        turned = advance(rollout, event, settings.pace.on_failure, reason, trusted)
        if turned is None:
            return False
        if isinstance(turned, Result):
            self._finish(rollout, turned, rollout.reason if event is Event.DONE else self._both(rollout, reason))
            return True
        self.rollout, self._goal = turned, None
        with contextlib.suppress(StateError) if event is Event.BLOCKED else contextlib.nullcontext():
            self._history.move(turned)
        name = {Phase.ROLLING_BACK: "rolling-back", Phase.PAUSED: "paused", Phase.ROLLING: "resumed"}[turned.phase]
        log.log(
            logging.INFO if event in (Event.RESUME, Event.PAUSE) else logging.WARNING,
            "%s: generation %d %s: %s",
            self.name,
            rollout.target,
            name,
            turned.reason or "on request",
        )
        self._tell(name, {"reason": turned.reason, "to": turned.goal})
        if turned.phase is Phase.PAUSED and settings.pace.on_failure is OnFailure.PAUSE and culprit is not None:
            # What failed serves nobody: stopping it leaves the world clean for a resume.
            self.instances.act(Stop(culprit, turned.target, "failed"), settings.pace.deadline, settings.stop.timeout)
        self._report_change()
        self.wake()
        return True

    @staticmethod
    def _both(rollout: Rollout, reason: str) -> str:
        return f"{rollout.reason}; going back failed: {reason}" if rollout.phase is Phase.ROLLING_BACK else reason

    def _is_origins(self, item: Instance) -> bool:
        assert self.rollout is not None
        if item.generation is None or self.rollout.origin is None:
            return False
        return item.generation == self.rollout.origin or (
            # Adopted by this rollout: the very process that ran before it.
            item.generation == self.rollout.target and item.number in self._adopted
        )

    def _finish(self, rollout: Rollout, result: Result, reason: str) -> None:
        now = time.time()
        self._history.progress(rollout, self._replaced, self._adopted)
        self._history.finish(rollout, result, reason, now)
        self.rollout, self._goal = None, None
        fields = {
            "result": str(result),
            "reason": reason,
            "generation": rollout.target,
            "from": rollout.origin,
            "to": rollout.target,
            "replaced": list(self._replaced),
            "adopted": list(self._adopted),
            "duration": round(now - rollout.started, 3),
        }
        self._prune()
        log.log(
            logging.INFO if result is Result.SUCCEEDED else logging.WARNING,
            "%s: rollout of generation %d ended: %s%s",
            self.name,
            rollout.target,
            result,
            f" ({reason})" if reason else "",
        )
        self._tell("finished", fields)
        self._report_change()

    def _prune(self) -> None:
        """Generation directories that nothing starts from any more and no rollback reaches cheaply go away."""
        numbers = [item.number for item in self._history.generations(self.name)]
        with contextlib.suppress(StateError):
            self._pins.prune(self.name, set(numbers[:10]))
