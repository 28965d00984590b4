"""Compares the generations of an app by its status, systemd's figures for its units, and the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployd.apps.caller import Caller
from deployd.apps.reader_pool import ReaderPool
from deployd.documents import Json
from deployd.documents.compare import comparison, shown
from deployd.state.history import History
from deployd.systemd.complaints import ComplaintCounter
from deployd.systemd.manager import Systemd
from deployd.systemd.usage import usages


class Comparer:
    """Compares the generations of any app. Concurrent calls for the same app share an answer."""

    def __init__(
        self,
        systemd: Systemd,
        history: History,
        status: Callable[[str], Json],
        complaining: ComplaintCounter,
    ) -> None:
        self._systemd = systemd
        self._history = history
        self._status = status
        self._complaining = complaining
        self._making: dict[str, asyncio.Task[Json]] = {}

    async def compare(self, app: str) -> Json:
        """Return `deployd compare APP --json`. Raises NoSuchApp and StateError."""
        making = self._making.get(app)
        if making is None:
            making = self._making[app] = asyncio.ensure_future(self._compare(app))
            making.add_done_callback(lambda _: self._making.pop(app, None))
        return await asyncio.shield(making)

    async def _compare(self, app: str) -> Json:
        further = self._status(app)["processes"]
        types = dict(zip(further, await asyncio.gather(*(self._of_type(app, item) for item in further)), strict=True))
        return await self._of_type(app, "") | {"processes": types}

    async def _of_type(self, app: str, process: str) -> Json:
        """Return the comparison of a further process type, or of web for ""."""
        name = f"{app}.{process}" if process else app
        complaints = {
            number: await self._complaining.of(self._invocations(name, number, instances), app)
            for number, instances in shown(self._status_of(app, process)).items()
        }
        # Read the status again: counting may take seconds, and the figures belong together.
        status = self._status_of(app, process)
        units = [item["unit"] for instances in shown(status).values() for item in instances]
        return comparison(status, await usages(self._systemd, units), complaints)

    def _status_of(self, app: str, process: str) -> Json:
        status = self._status(app)
        found: Json = status["processes"].get(process, {"app": app, "instances": []}) if process else status
        return found

    def _invocations(self, app: str, generation: int, instances: list[Json]) -> list[str]:
        """Return the known invocations, those that run now last: of too many the first are left out."""
        present = [item["invocation_id"] for item in instances]
        before = [item for item in self._history.invocations(app, generation) if item not in present]
        return [*before, *present]


class PublicComparer:
    """Compares on behalf of callers. Root shares a comparer with the analysis of rollouts; neither waits for others."""

    def __init__(self, pool: ReaderPool, root: Comparer, public: Comparer) -> None:
        self._pool = pool
        self._root = root
        self._public = public

    async def compare(self, caller: Caller, name: str) -> Json:
        """Return `deployd compare APP --json`. Raises NoSuchApp, StateError and BusError (LimitsExceeded)."""
        comparer = self._root if caller.trusted else self._public
        return await self._pool.run(caller, lambda: comparer.compare(name))
