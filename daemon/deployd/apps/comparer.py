"""What `deployd compare` is told from: the status, what systemd says of the units, and the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployd.documents.compare import comparison, shown
from deployd.documents.status import Json
from deployd.state.history import History
from deployd.systemd.complaints import Complaining
from deployd.systemd.manager import Systemd
from deployd.systemd.usage import usages


class Comparer:
    """Compares the generations of any app. Who asks while an answer is being made gets that one: everyone may ask."""

    def __init__(
        self,
        systemd: Systemd,
        history: History,
        status: Callable[[str], Json],
        complaining: Complaining,
    ) -> None:
        self._systemd = systemd
        self._history = history
        self._status = status
        self._complaining = complaining
        self._making: dict[str, asyncio.Task[Json]] = {}

    async def compare(self, app: str) -> Json:
        """See compare.py. Raises NoSuchApp and StateError."""
        making = self._making.get(app)
        if making is None:
            making = self._making[app] = asyncio.ensure_future(self._compare(app))
            making.add_done_callback(lambda _: self._making.pop(app, None))
        return await asyncio.shield(making)

    async def _compare(self, app: str) -> Json:
        complaints = {
            number: await self._complaining.of(self._invocations(app, number, instances), app)
            for number, instances in shown(self._status(app)).items()
        }
        # Afterwards: counting may take seconds, and what is told belongs together.
        status = self._status(app)
        units = [item["unit"] for instances in shown(status).values() for item in instances]
        return comparison(status, await usages(self._systemd, units), complaints)

    def _invocations(self, app: str, generation: int, instances: list[Json]) -> list[str]:
        """All that are known, those that run now last: of too many the first are left out."""
        present = [item["invocation_id"] for item in instances]
        before = [item for item in self._history.invocations(app, generation) if item not in present]
        return [*before, *present]
