"""What crash loop, standby and recall need of the actuator."""

from __future__ import annotations

from typing import Protocol

from deployd.model.action import Action
from deployd.model.app import App


class Executor(Protocol):
    """Carries out actions on the instances of one app."""

    def act(self, action: Action, settings: App) -> None:
        """Begin an action. Raises StateError if a pin cannot be written."""

    def is_busy(self, number: int) -> bool:
        """True if an action on this instance is under way."""
