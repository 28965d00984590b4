"""Reports addresses of an app that are closed, and those that are open again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from deployd.model.address import Address
from deployd.model.event import Emit, EventName


class AddressLog:
    """Remembers the addresses of one app. `emit` gets an event for each change; `changed` is called after them."""

    def __init__(self, *, emit: Emit, changed: Callable[[], None]) -> None:
        self._emit = emit
        self._changed = changed
        self._known: dict[tuple[str, str], Address] = {}

    def note(self, addresses: Iterable[Address]) -> None:
        """Compare the addresses with those noted before."""
        known, self._known = self._known, {(item.address, item.unit): item for item in addresses}
        news = [item for key, item in self._known.items() if item != known.get(key)]
        for item in news:
            before = known.get((item.address, item.unit))
            was_open = before is None or before.open
            is_away = before is None and item.open and item.reason  # on no interface: a typing error, perhaps
            if item.open is not was_open or not item.open or is_away:
                self._emit(EventName.ADDRESS, dataclasses.asdict(item))
        if news:
            self._changed()
