"""Reports addresses of an app that are closed, and those that are open again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from deployd.model.address import NO_GENERATION, NO_INSTANCE, STOPPED, Address
from deployd.model.event import Emit, EventName


class AddressLog:
    """Remembers the addresses of one app. `emit` gets an event for each change; `changed` is called after them."""

    def __init__(self, *, emit: Emit, changed: Callable[[], None]) -> None:
        self._emit = emit
        self._changed = changed
        self._known: dict[tuple[str, str], Address] = {}
        self._closed: set[tuple[str, str]] = set()
        """Those that were reported as closed."""

    def note(self, addresses: Iterable[Address]) -> None:
        """Compare the addresses with those noted before.

        One that is closed as the app is stopped, or before its first instance starts, is no event.
        """
        known, self._known = self._known, {(item.address, item.unit): item for item in addresses}
        for key, item in self._known.items():
            if item != (before := known.get(key)) and self._is_event(item, before):
                self._emit(EventName.ADDRESS, dataclasses.asdict(item))
        self._closed &= self._known.keys()
        if self._known != known:
            self._changed()

    def _is_event(self, item: Address, before: Address | None) -> bool:
        key = item.address, item.unit
        if item.open:
            if key in self._closed:
                self._closed.remove(key)
                return True
            return before is None and bool(item.reason)  # on no interface: a typing error, perhaps
        was_open = before is not None and before.open
        if item.reason == STOPPED or (item.reason in (NO_INSTANCE, NO_GENERATION) and not was_open):
            return False
        self._closed.add(key)
        return True
