"""The polkit actions, and which of them each method needs. units/org.deployd1.policy describes them to polkit."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Action(StrEnum):
    """A kind of change that an administrator may allow on its own."""

    ROLLOUT = "org.deployd1.rollout"
    ROLLBACK = "org.deployd1.rollback"
    PAUSE = "org.deployd1.pause"
    """Everything that steers a rollout in progress, its end included."""
    RESTART = "org.deployd1.restart"
    SCALE = "org.deployd1.scale"
    CONFIGURE = "org.deployd1.configure"
    REMOVE = "org.deployd1.remove"
    DRAIN = "org.deployd1.drain"
    """Take the host, or one app on it, out of load balancers, and put it back."""
    RUN = "org.deployd1.run"
    """Run any command as the user of the app."""
    READ_LOGS = "org.deployd1.read-logs"
    """No method needs it: it adds journal lines to what a method returns."""


NEEDED: Mapping[str, Action] = {
    "Rollout": Action.ROLLOUT,
    "Rollback": Action.ROLLBACK,
    "Pause": Action.PAUSE,
    "Resume": Action.PAUSE,
    "Abort": Action.PAUSE,
    "SetWeight": Action.PAUSE,
    "Restart": Action.RESTART,
    "Scale": Action.SCALE,
    "Apply": Action.CONFIGURE,
    "Reload": Action.CONFIGURE,
    "Repair": Action.CONFIGURE,
    "Remove": Action.REMOVE,
    "Drain": Action.DRAIN,
    "Undrain": Action.DRAIN,
    "Run": Action.RUN,
    "Build": Action.ROLLOUT,
}
"""By method. The daemon does not start if a method that changes something is missing."""

NEEDS_CALLER = frozenset({"Run", "Build"})
"""Methods that change something and are passed the caller."""

SUPERSEDE = "supersede"
"""An option of methods that begin a rollout. It ends the one in progress, as Abort does, so it needs Action.PAUSE."""


def verb(member: str) -> str:
    """Return the name of the command that calls a method, which polkit's rules see as `verb`."""
    return {"SetWeight": "weight", "Build": "deploy"}.get(member, member.lower())
