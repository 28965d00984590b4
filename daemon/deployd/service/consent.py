"""Who may change what: root everything, others what polkit lets them, of the releases that the app is known by."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from deployd.apps import release_access
from deployd.apps.caller import Caller
from deployd.apps.registry import Registry
from deployd.apps.requests import Requests
from deployd.errors import DeploydError, InvalidRequest
from deployd.files.workers import Workers
from deployd.service.polkit import Polkit

VERBS = {"SetWeight": "weight"}
"""Methods whose command is not called like them."""

NAMES_RELEASE = frozenset({"Rollout", "Apply"})
"""Methods that take a release from the app file or from their options."""


class Consent:
    """Asked before anything is changed."""

    def __init__(self, polkit: Polkit, apps: Registry, requests: Requests) -> None:
        self._polkit = polkit
        self._apps = apps
        self._requests = requests
        self._workers = Workers(places=1)

    async def obtain(self, caller: Caller, member: str, app: str, arguments: Sequence[Any]) -> str | None:
        """The release that was agreed on, which Rollout and Apply must take; None where any is fine.

        Raises AccessDenied, and BusError (LimitsExceeded).
        """
        if caller.root:
            return None
        release = await self._release(caller, member, app, arguments)
        details = {"app": app, "verb": VERBS.get(member, member.lower()), "release": release}
        await self._polkit.authorise(caller, f"{member} of {app or 'org.deployd1'}", details)
        return release if member in NAMES_RELEASE else None

    async def _release(self, caller: Caller, member: str, app: str, arguments: Sequence[Any]) -> str:
        """Return the release that polkit gets as a detail: the directory that instances would start from."""
        if not app:
            return ""
        if member in NAMES_RELEASE:
            requested = arguments[0].get("release")
            if not isinstance(requested, str | None):
                raise InvalidRequest('option "release" must be of type str')
            settings = await self._apps.files.load(app, self._workers)
            known = {item.release for item in self._apps.history.past(app)}
            # A path that hangs blocks only the requests of the user who named it.
            places = f"{app} for user {caller.uid}"
            return await self._workers.run(places, release_access.agreed, caller, settings, known, requested)
        with contextlib.suppress(DeploydError):
            if member == "Rollback":
                return self._requests.rollback_goal(app, arguments[0], past_irreversible=True).release
            current = self._apps.current(app)
            return current.release if current is not None else ""
        return ""
