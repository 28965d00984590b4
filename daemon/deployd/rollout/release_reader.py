"""Reads release directories in threads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from deployd import config
from deployd.config.contents import contents, refuse_changed
from deployd.errors import AccessDenied, Refused
from deployd.files.workers import LONG, Workers
from deployd.model import advice
from deployd.model.app import App
from deployd.model.generation import Generation
from deployd.state.credentials import Credentials


class ReleaseReader:
    """For all apps. Each method raises NoAnswer if a file system does not answer in time."""

    def __init__(self, workers: Workers, credentials: Credentials) -> None:
        self._workers = workers
        self._credentials = credentials

    async def directory(self, app: App) -> str:
        """Return the directory to which the app file's release leads, "" if it leads to none."""
        return await self._workers.run(app.name, config.directory, app)

    async def resolve(self, app: App, release: str | None, agreed: str | None) -> str:
        """Return the real directory of `release`, or of the app file's; if polkit has agreed on one, it must be that.

        Raises AccessDenied and Refused.
        """
        wanted = release if agreed is None else agreed
        real = await self._workers.run(app.name, config.resolve_release, app, wanted)
        if agreed is not None and real != agreed:
            raise AccessDenied(f"the release {agreed} changed to another directory during authorisation; try again")
        return real

    async def capture(self, app: App) -> App:
        """Return the app with the present contents of its environment files and credentials. Raises Refused."""
        app = await self._workers.run(app.name, config.capture, app)
        return await self._workers.run(app.name, config.capture_credentials, app, self._credentials.digest)

    async def keep_credentials(self, app: App) -> None:
        """Store copies of the app's credentials, as far as there are none. Raises Refused and StateError."""
        await self._workers.run(app.name, self._keep, app)

    def _keep(self, app: App) -> None:
        if all(self._credentials.has(app.name, digest) for _, digest in app.credentials if digest):
            return
        stored = config.capture_credentials(replace(app, processes=()), partial(self._credentials.keep, app.name))
        if changed := [item[0] for item in app.credentials if item not in stored.credentials]:
            raise Refused(
                f"{changed[0]} is not what it was for the generation of {app.name}, and there is no copy of that; to"
                f" use it as it is, run {advice.deployd()} rollout {app.name}"
            )

    async def require_runnable(self, app: App, release: str) -> tuple[str, ...]:
        """Return sentences about what may be of another release.

        Raises Refused for what certainly is, and if the user of the app could certainly not run it.
        """
        found = [await self._workers.run(app.name, config.require_runnable, item, release) for item in app.members]
        return tuple(dict.fromkeys(doubt for doubts in found for doubt in doubts))

    async def digest(self, app: App, release: str) -> str:
        """Return the digest of the release's contents. Raises Refused."""
        return (await self._workers.run(app.name, contents, release, app, deadline=LONG)).digest

    async def unchanged(self, generation: Generation) -> str:
        """Return the release of a generation. Raises Refused unless it is there and as it was."""
        name = generation.app
        release = await self._workers.run(name, config.resolve_release, generation.settings, generation.release)
        await self._workers.run(name, refuse_changed, generation, deadline=LONG)
        return release

    async def missing(self, generation: Generation | None) -> str:
        """Return what instances of the generation would not find; "" if they would find everything."""
        if generation is None:
            return ""
        return await self._workers.run(generation.app, config.missing, generation.settings, generation.release)

    async def irreversible(self, name: str, release: str) -> str:
        """Return what the release says about being irreversible; "" if it does not say that."""
        return await self._workers.run(name, config.irreversible, release)
