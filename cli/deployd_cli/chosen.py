"""The scope of this command: the system, or with --user the calling user."""

from __future__ import annotations

from deployd.model import advice
from deployd.model.scope import SYSTEM, Scope, of_process


class Chosen:
    """What --user has chosen, before the command runs."""

    scope: Scope = SYSTEM


def choose_user() -> None:
    """Have the command work with the service manager of the calling user."""
    Chosen.scope = of_process()
    advice.use(Chosen.scope)
