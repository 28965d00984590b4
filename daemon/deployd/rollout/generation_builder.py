"""Makes the next generation of an app: verifies its units, writes its files, runs its before hooks.

Running instances are not affected, neither by success nor by an error.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deployd.errors import DeploydError, StateError
from deployd.model.app import OTHERS, App, combined
from deployd.model.event import EventName
from deployd.model.generation import Cause, Generation, Result
from deployd.rollout.generations import Generations
from deployd.rollout.hook_runner import Change
from deployd.rollout.hooks import Hooks
from deployd.rollout.release_reader import ReleaseReader
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.units.deployment import Deployment

Report = Callable[[str, EventName, dict[str, Any]], None]
"""(app, event, fields): reports one event of an app."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A generation to build. `again` is an earlier one that starts the very same process, of a release that has not
    changed since; only the contents of environment files and credentials may differ."""

    app: App
    cause: Cause
    again: Generation | None = None


@dataclass(frozen=True, slots=True)
class _Written:
    """The digest of the release of a generation whose files are written, and the fingerprint of its process."""

    digest: str
    fingerprint: str


class GenerationBuilder:
    """For all apps. `report` gets the events of hooks."""

    def __init__(
        self,
        releases: ReleaseReader,
        generations: Generations,
        history: History,
        pins: Pins,
        deployment: Deployment,
        hooks: Hooks,
        report: Report,
    ) -> None:
        self._releases = releases
        self._generations = generations
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._hooks = hooks
        self._report = report

    async def build(self, wanted: Sequence[Wanted], release: str) -> tuple[Generation, ...]:
        """Return the generations of an app and of its process types, which have one number and are not in the history
        yet. The app comes first; only it has hooks. Raises Refused, StateError and SystemdError.
        """
        wanted = [replace(item, app=self._generations.learned(item.app)) for item in wanted]
        app, cause = wanted[0].app, wanted[0].cause
        with self._hooks.ahead(app, cause):
            number = self._history.next_number(app.name)
            try:
                written = [await self._write(item, release, number) for item in wanted]
                if await self._ran_hooks(app, release, number, cause):
                    # Hooks take their time and may write into the release.
                    written = [await self._write(item, release, number) for item in wanted]
            except DeploydError:
                for item in wanted:
                    self._remove(item.app.name, number)
                raise
        others = [(item.app.process, its.fingerprint) for item, its in zip(wanted[1:], written[1:], strict=True)]
        fingerprints = [combined(written[0].fingerprint, others), *(item.fingerprint for item in written[1:])]
        return tuple(
            Generation(
                app=item.app.name,
                number=number,
                release=release,
                settings=item.app,
                fingerprint=fingerprint,
                cause=item.cause,
                result=Result.RUNNING,
                reason="",
                started=time.time(),
                contents=its.digest,
            )
            for item, its, fingerprint in zip(wanted, written, fingerprints, strict=True)
        )

    async def _write(self, wanted: Wanted, release: str, number: int) -> _Written:
        """Verify the units and write the generation's files."""
        app, again = wanted.app, wanted.again
        if again is not None:
            digest, fingerprint = again.contents, again.fingerprint.partition(OTHERS)[0]
            its = again.settings
            if (app.environment_contents, app.credentials) != (its.environment_contents, its.credentials):
                fingerprint = app.fingerprint(release, digest)
        else:
            digest = await self._releases.digest(app, release)
            fingerprint = app.fingerprint(release, digest)
        goal = self._generations.goal(app, number, fingerprint)
        if wanted.cause is Cause.RESTART:
            goal = replace(goal, same=frozenset())  # it adopts no instances
        await self._deployment.prepare(app, goal, release)
        await self._releases.keep_credentials(app)
        return _Written(digest, fingerprint)

    async def _ran_hooks(self, app: App, release: str, number: int, cause: Cause) -> bool:
        """Run the before hooks; True if there are any."""
        name, old = app.name, self._generations.current(app.name)
        origin = (old.number, old.release) if old is not None else (None, "")
        return await self._hooks.before(Change(app, number, release, cause, *origin), partial(self._report, name))

    def _remove(self, name: str, number: int) -> None:
        """Remove the files of a generation that was refused."""
        with contextlib.suppress(StateError):
            self._pins.prune(name, set(self._pins.generations(name)) - {number})
            self._pins.credentials.prune(name, self._history.credentials(name))
