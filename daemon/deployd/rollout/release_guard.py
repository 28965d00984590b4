"""Notices that a release vanishes or is replaced during its own rollout: one generation would run two versions of the
code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deployd.config.contents import changed, user_id
from deployd.config.own_code import own_code
from deployd.errors import NoAnswer, Refused, StateError
from deployd.files.walk import ROOT
from deployd.files.workers import LONG, Workers
from deployd.model.action import Action, Start
from deployd.model.generation import Generation


class ReleaseGuard:
    """Says when the release of one app's rollout is to be looked for, which is before actions begin, and compares it
    before each start, and once after the last one, in a thread.

    Where the app runs as root, code and data have the same owner. Then only files that are code by their name count,
    compared with what they were before the first start that this daemon made for the generation.
    """

    def __init__(self, app: str, workers: Workers) -> None:
        self._app = app
        self._workers = workers
        self._found = 0
        """The generation whose release was found and for which no action has begun since."""
        self._compared = 0
        """The generation whose release has been compared and from which no instance has been started since."""
        self._started = 0
        """The generation of which instances were started after its release was compared."""
        self._code = 0, ""
        """Of an app that runs as root: a generation, and the digest of its code when it was first compared."""

    def must_find(self, generation: int, actions: Sequence[Action]) -> bool:
        """True if the release must be looked for before these actions."""
        return self._found != generation and bool(actions)

    def found(self, generation: int) -> None:
        """Note that the release is there."""
        self._found = generation

    def is_due(self, generation: int, actions: Iterable[Action]) -> bool:
        """True if the release must be compared before these actions."""
        return self._compared != generation and any(isinstance(action, Start) for action in actions)

    def is_due_at_end(self, generation: int) -> bool:
        """True if the release must be compared before the rollout ends."""
        return bool(generation) and self._started == generation

    def acted(self, generation: int, actions: Sequence[Action]) -> None:
        """Note that these actions have begun."""
        if actions:
            self._found = 0
        if any(isinstance(action, Start) for action in actions):
            self._compared, self._started = 0, generation

    async def change(self, generation: Generation) -> str:
        """Return a sentence about how the release has changed since `generation` was made, or "".

        Raises StateError if the file system does not answer, which says nothing about the release.
        """
        try:
            difference = await self._difference(generation)
        except NoAnswer as error:
            raise StateError(str(error)) from None
        except Refused as error:
            return str(error)
        self._compared, self._started = generation.number, 0
        if not difference:
            return ""
        return f"the release {generation.release} has changed since generation {generation.number} began: {difference}"

    async def _difference(self, generation: Generation) -> str:
        settings, release = generation.settings, generation.release
        if user_id(settings.user) is not None:
            return await self._workers.run(self._app, changed, generation, deadline=LONG)
        code = await self._workers.run(self._app, own_code, release, settings, ROOT, deadline=LONG)
        if self._code[0] != generation.number:
            self._code = generation.number, code
        return "" if self._code[1] == code else "its code was replaced"
