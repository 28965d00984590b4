"""Consent to changes: root may change everything, other users what polkit authorises, to releases known for the app.

In user mode the user as which deployd runs may do what root may, and no other user may change anything.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from typing import Any

from deployd import config
from deployd.apps import release_access
from deployd.apps.app_files import AppFiles
from deployd.apps.caller import Caller
from deployd.apps.rollback_goal import RollbackGoal
from deployd.errors import DeploydError, InvalidRequest
from deployd.files.workers import Workers
from deployd.rollout.generations import Generations
from deployd.service.actions import SUPERSEDE, Action, verb
from deployd.service.authority import Authority

NAMES_RELEASE = frozenset({"Rollout", "Apply", "Build"})
"""Methods that take a release, from the app file or from their options."""
KEEPS_RELEASE = NAMES_RELEASE | {"Run"}
"""Methods that must use the release that polkit has agreed to."""


class Consent:
    """Asks `authority` before anything is changed."""

    def __init__(
        self, authority: Authority, files: AppFiles, generations: Generations, rollback_goal: RollbackGoal
    ) -> None:
        self._authority = authority
        self._files = files
        self._generations = generations
        self._rollback_goal = rollback_goal
        self._workers = Workers(places=1)

    async def obtain(
        self, caller: Caller, action: Action, member: str, app: str, arguments: Sequence[Any]
    ) -> str | None:
        """Return the release that polkit has agreed to, for methods that must use it; None if any is allowed.

        Raises AccessDenied, and BusError (LimitsExceeded).
        """
        if caller.trusted:
            return None
        details = {"app": app, "verb": verb(member), "release": await self._release(caller, member, app, arguments)}
        if member == "Run":
            command, process = arguments[0], arguments[1].get("process", "")
            details["command"] = config.one_line(shlex.join(command) or f"--process {process}")
            details["process"] = config.one_line(str(process))
        await self._authority.authorise(caller, action, details)
        if any(isinstance(options, dict) and options.get(SUPERSEDE) for options in arguments):
            live = await self._release(caller, SUPERSEDE, app, arguments)
            await self._authority.authorise(caller, Action.PAUSE, {"app": app, "verb": SUPERSEDE, "release": live})
        return details["release"] if member in KEEPS_RELEASE else None

    async def reads_logs(self, caller: Caller, app: str) -> bool:
        """True if the caller may see what `app` wrote to the journal; what several apps wrote, for ""."""
        if caller.reads_journal():
            return True
        return await self._authority.allows(caller, Action.READ_LOGS, {"app": app, "verb": "logs", "release": ""})

    async def _release(self, caller: Caller, member: str, app: str, arguments: Sequence[Any]) -> str:
        """Return the directory that instances would start from, which polkit's rules see as `release`."""
        if not app:
            return ""
        if member in NAMES_RELEASE:
            requested = arguments[0].get("release")
            if not isinstance(requested, str | None):
                raise InvalidRequest('option "release" must be of type str')
            settings = await self._files.load(app, self._workers)
            known = self._generations.releases(app)
            # A path that hangs blocks only requests of the user that named it.
            places = f"{app} for user {caller.uid}"
            if requested is None:
                directory = await self._workers.run(places, config.directory, settings)
                _, requested = self._generations.choose(settings, directory)
            return await self._workers.run(places, release_access.agreed, caller, settings, known, requested)
        with contextlib.suppress(DeploydError):
            if member == "Rollback":
                return self._rollback_goal.find(app, arguments[0], past_irreversible=True).release
            if member == "Run" and isinstance(arguments[1].get("release"), str):
                return str(arguments[1]["release"])
            current = self._generations.current(app)
            return current.release if current is not None else ""
        return ""
