"""What the app file changes in the settings of the generation that is live."""

from __future__ import annotations

from functools import partial

from deployd import config
from deployd.apps import release_access
from deployd.apps.caller import Caller
from deployd.apps.file_reader import FileReader
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.config.credentials import Digest
from deployd.documents import Json
from deployd.documents import changes as documents
from deployd.model.app import App
from deployd.model.changes import changes
from deployd.rollout.generations import Generations
from deployd.state.history import History


class ChangePreview:
    """For all apps."""

    def __init__(
        self,
        registry: Registry,
        reader: FileReader,
        pool: ReaderPool,
        generations: Generations,
        history: History,
        digest: Digest,
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._pool = pool
        self._generations = generations
        self._history = history
        self._digest = digest

    async def changes(self, caller: Caller, name: str) -> Json:
        """Return the generation that is live, what the app file changes, and the release that would be rolled out, null
        if there is none.

        Raises AccessDenied, InvalidFile, Refused and BusError (LimitsExceeded).
        """
        await self._reader.require_readable(caller, name)
        return await self._pool.run(caller, lambda: self._changes(caller, name))

    async def _changes(self, caller: Caller, name: str) -> Json:
        self._registry.known(name)
        app = self._generations.learned(await self._reader.load(caller, name))
        read = partial(self._pool.workers(caller).run, name)
        directory = await read(config.directory, app)
        app, stays = self._generations.choose(app, directory)
        app = await read(release_access.captured, caller, app, self._digest)
        release, current = stays or directory or None, self._history.current(name)
        return {"app": name, "generation": current, "release": release, "changes": self.of(caller, app)}

    def of(self, caller: Caller, app: App) -> list[Json]:
        """Return how these settings differ from those of the generation that is live; nothing if none is."""
        current = self._history.current(app.name)
        live = None if current is None else self._history.settings(app.name, current)
        return [] if live is None else documents.changes(changes(live, app), values=caller.root)
