"""What precedes a rollout: the release is looked at, its files are written, hooks are run. Nothing has begun yet."""

from __future__ import annotations

import contextlib

from deployd import config
from deployd.apps.registry import Registry
from deployd.config.contents import contents, refuse_changed
from deployd.errors import AccessDenied, DeploydError, StateError
from deployd.files.workers import LONG
from deployd.model.app import App
from deployd.model.generation import Cause, Generation
from deployd.rollout.hooks import Change


class GenerationBuilder:
    """Of all apps."""

    def __init__(self, apps: Registry) -> None:
        self._apps = apps

    async def resolved(self, app: App, release: str | None, agreed: str | None) -> str:
        """The real directory of `release`, or of the app file's; it must be the one that was agreed on, if one was.

        Raises AccessDenied and Refused.
        """
        wanted = release if agreed is None else agreed
        real = await self._apps.workers.run(app.name, config.resolve_release, app, wanted)
        if agreed is not None and real != agreed:
            raise AccessDenied(f"the release {agreed} became another directory while polkit was asked; try again")
        return real

    async def prepare(self, app: App, release: str, number: int, again: Generation | None = None) -> tuple[str, str]:
        """Verify the units and write the generation's files; what stands for its contents, and its fingerprint."""
        if again is not None:
            held, fingerprint = again.contents, again.fingerprint
        else:
            held = (await self._apps.workers.run(app.name, contents, release, app, deadline=LONG)).digest
            fingerprint = app.fingerprint(release, held)
        await self._apps.deployment.prepare(app, self._apps.goal(app, number, fingerprint), release)
        return held, fingerprint

    async def ran_hooks(self, app: App, release: str, number: int, cause: Cause) -> bool:
        """Run the hooks that come before a rollout; were there any? Raises Refused, and leaves nothing behind."""
        name, old = app.name, self._apps.current(app.name)
        origin = (old.number, old.release) if old is not None else (None, "")
        change = Change(app, number, release, cause, *origin)
        try:
            return await self._apps.hooks.before(change, lambda event, fields: self._apps.tell(name, event, fields))
        except DeploydError:
            with contextlib.suppress(StateError):
                self._apps.pins.prune(name, set(self._apps.pins.generations(name)) - {number})
            raise

    async def mark(self, name: str, release: str, held: str, cause: Cause) -> tuple[str, list[str]]:
        """Why there is no way back past the release, and what the release itself says of that; "" if there is a way, or
        if it is the release that was live before."""
        if self._apps.runs_unknown(name):
            return "for nothing is known of what runs now", []
        origin = self._apps.current(name)
        known = origin is not None and (origin.release, origin.contents) == (release, held)
        if known or cause is Cause.ROLLBACK:
            return "", []
        words = await self._apps.workers.run(name, config.irreversible, release)
        return ("as its release says", [words]) if words else ("", [])

    async def lost_origin(self, name: str) -> str:
        """Why a rollout could not go back to where it comes from; "" if it could."""
        lost = await self.missing(self._apps.current(name))
        return lost and f"{lost}: should this rollout fail, there is no way back"

    async def as_it_was(self, generation: Generation) -> str:
        """The release of an earlier generation, there and unchanged. Raises Refused."""
        run = self._apps.workers.run
        release = await run(generation.app, config.resolve_release, generation.settings, generation.release)
        await run(generation.app, refuse_changed, generation, deadline=LONG)
        return release

    async def missing(self, generation: Generation | None) -> str:
        """What instances of a generation would not find; "" if they would find all."""
        if generation is None:
            return ""
        run = self._apps.workers.run
        return await run(generation.app, config.missing, generation.settings, generation.release)
