"""Finds the generation that a rollback returns to, and refuses to undo what is irreversible."""

from __future__ import annotations

from deployd.apps.registry import Registry
from deployd.errors import Refused
from deployd.model import advice
from deployd.model.generation import Cause, Generation
from deployd.plan.rollback import doubt, rollback_target
from deployd.rollout.generations import Generations
from deployd.state.history import History


class RollbackGoal:
    """For all apps."""

    def __init__(self, registry: Registry, history: History, generations: Generations) -> None:
        self._registry = registry
        self._history = history
        self._generations = generations

    def find(self, name: str, to: int, past_irreversible: bool) -> Generation:
        """Return generation `to`, or the last good one before the current one if `to` is 0. Raises Refused."""
        current = self._generations.require_current(name)
        if self._registry.rollout(name) is not None:
            self.refuse_undoing(name, past_irreversible)
            if not to:
                self._refuse_return(name, current.number)
                return current  # the origin of the rollout under way
        goal = rollback_target(self._history.past(name), current.number, to, past_irreversible=past_irreversible)
        return self._generations.require(name, goal.number)

    def _refuse_return(self, name: str, bad: int) -> None:
        """Raise Refused if deployd is rolling back automatically: the origin of that is the bad generation."""
        controller = self._registry.known(name)
        target = controller.target if controller is not None else None
        if target is not None and target.cause is Cause.WATCH:
            raise Refused(
                f"generation {bad} of {name} is being rolled back automatically; wait for the end, or name the"
                f" generation: {advice.deployd()} rollback {name} --to GENERATION --supersede"
            )

    def doubts(self, goal: Generation) -> list[str]:
        """Return what the history has against a rollback to `goal`."""
        found = doubt(self._history.past(goal.app), goal)
        return [found] if found else []

    def refuse_undoing(self, name: str, past_irreversible: bool) -> None:
        """Raise Refused if the rollout under way is irreversible, unless rolling it back is wanted all the same."""
        controller = self._registry.known(name)
        target = controller.target if controller is not None else None
        if target is not None and target.irreversible and not past_irreversible:
            raise Refused(
                f"generation {target.number} of {name} is irreversible: a rollback does not undo what it changed; use"
                f" {advice.deployd()} rollout {name} --supersede to roll out a better release, or"
                f" {advice.deployd()} abort {name} --past-irreversible to roll back all the same"
            )
