"""Who decides what callers may do that deployd does not trust anyway: polkit, or in user mode nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from deployd.apps.caller import Caller
from deployd.errors import AccessDenied
from deployd.service.actions import Action


class Authority(Protocol):
    """Decides on actions; `Polkit` explains the details."""

    async def authorise(self, caller: Caller, action: Action, details: Mapping[str, str]) -> None:
        """Raise AccessDenied unless the caller may do what `details` say."""

    async def allows(self, caller: Caller, action: Action, details: Mapping[str, str]) -> bool:
        """True if the caller may do it, without a prompt."""


class NoConsent:
    """The authority of a user's bus: users other than that one and root may change nothing."""

    async def authorise(self, caller: Caller, action: Action, details: Mapping[str, str]) -> None:  # noqa: ARG002
        raise AccessDenied(f"not allowed: {details['verb']} needs the user as which this deployd runs, or root")

    async def allows(self, caller: Caller, action: Action, details: Mapping[str, str]) -> bool:  # noqa: ARG002
        return False
