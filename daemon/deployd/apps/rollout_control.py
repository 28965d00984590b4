"""Requests that control the rollout under way: pause, resume and abort."""

from __future__ import annotations

from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.registry import Registry
from deployd.apps.rollback_goal import RollbackGoal
from deployd.errors import Refused
from deployd.model import advice
from deployd.model.clock import iso
from deployd.plan.transitions import Event
from deployd.rollout.controller import Controller
from deployd.rollout.hooks import Hooks
from deployd.rollout.release_reader import ReleaseReader


class UnderWay:
    """Finds the rollout under way of an app."""

    def __init__(self, registry: Registry, hooks: Hooks, recovery: HistoryRecovery) -> None:
        self._registry = registry
        self._hooks = hooks
        self._recovery = recovery

    def accept(self, name: str) -> bool:
        """End the probation of an app without a rollout under way; False if there is none. Raises StateError."""
        self._recovery.require(name)
        self._registry.known(name)
        accepted = [item.accept() for item in self._registry.members(name)]
        return any(accepted)

    def members(self, name: str) -> list[Controller]:
        """Return the controllers of the app and its process types that have a rollout under way.

        Raises as :meth:`require`.
        """
        self.require(name)
        return [item for item in self._registry.members(name) if item.rollout is not None]

    def require(self, name: str) -> Controller:
        """Return the controller of an app with a rollout under way.

        Raises NoSuchApp, Busy if hooks run before a rollout begins, Refused if there is none, and StateError if the
        history cannot be used.
        """
        self._recovery.require(name)
        controller = self._registry.known(name)
        found = next((item for item in self._registry.members(name) if item.rollout is not None), None)
        if found is None:
            self._hooks.refuse_if_ahead(name)
            raise Refused(f"no rollout of {name} is under way{_watched(controller)}")
        return found


def _watched(controller: Controller | None) -> str:
    """Return what can be done about the probation of the current generation, as the end of a sentence."""
    probation = controller.watched() if controller is not None else None
    if probation is None:
        return ""
    return (
        f"; generation {probation.generation} is live and watched until {iso(probation.ends)}: roll it back with"
        f" {advice.deployd()} rollback {probation.app}, or end the watch with {advice.deployd()} resume {probation.app}"
    )


class RolloutControl:
    """For all apps. Methods raise a DeploydError for people to read."""

    def __init__(self, under_way: UnderWay, releases: ReleaseReader, rollback_goal: RollbackGoal) -> None:
        self._under_way = under_way
        self._releases = releases
        self._rollback_goal = rollback_goal

    def pause(self, name: str) -> None:
        """Pause the rollout: no instance is started or stopped until it is resumed or aborted."""
        self._send(name, Event.PAUSE, "paused by request")

    async def resume(self, name: str) -> None:
        """Continue a paused rollout; without a rollout, end the probation of the current generation.

        Refused if the release is missing.
        """
        if self._under_way.accept(name):
            return
        missing = await self._releases.missing(self._under_way.require(name).target)
        if missing:
            raise Refused(f"{missing}: put it back and resume, or use {advice.deployd()} abort {name} to roll back")
        self._send(name, Event.RESUME)

    def abort(self, name: str, *, past_irreversible: bool = False, token: int | None = None) -> None:
        """Roll the rollout back, with a `token` only that of a fleet which has it: another one may have begun since."""
        if token is not None:
            self._require_token(name, token)
        self._rollback_goal.refuse_undoing(name, past_irreversible)
        self._send(name, Event.ABORT, "aborted by request")

    def _require_token(self, name: str, token: int) -> None:
        target = self._under_way.require(name).target
        has = target.token if target is not None else 0
        if not has or has != token:
            of = f"has the token {has}" if has else "is of no fleet"
            raise Refused(f"the rollout of {name} in progress {of}; the one with the token {token} is not in progress")

    def _send(self, name: str, event: Event, reason: str = "") -> None:
        found = self._under_way.members(name)
        phase = next((item.rollout.phase for item in found if item.rollout is not None), "over")
        suspended = [item for item in found if item.rollout is not None and item.rollout.suspended]
        # A canary of the app still waits once another process type is resumed.
        chosen = suspended if event is Event.RESUME and suspended else found
        sent = [item.send(event, reason) for item in chosen]
        if not any(sent):
            raise Refused(f"the rollout of {name} is {phase}: cannot {event}")
