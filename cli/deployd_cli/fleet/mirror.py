"""The view of an app, kept up to date by a watch, and the transactions that are made with it.

A host watches control/ only, so that messages per host stay constant. A steward of the next batch and a driver watch
all keys of the app, in one watch, since two could be at different revisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from deployd_cli.fleet import etcd as store
from deployd_cli.fleet import keys
from deployd_cli.fleet.etcd import Etcd, Range
from deployd_cli.fleet.steward import is_steward
from deployd_cli.fleet.transaction import Delete, NoneSince, Put, Transaction, Unchanged
from deployd_cli.fleet.view import Change, View

WIDE = (keys.CONTROL, keys.SLOTS, keys.HOSTS)
PARTS = (*WIDE, keys.ALIVE)


class Mirror:
    """The keys of one app. With a `host`, its own keys, and the others while it is a steward; without, all keys.

    Raises EtcdUnavailable and EtcdRefused.
    """

    def __init__(self, etcd: Etcd, root: str, host: str, changed: Callable[[], None]) -> None:
        self.view = View()
        self._etcd = etcd
        self._root = root
        self._host = host
        self._changed = changed
        self._written: dict[str, int] = {}
        """The revisions of keys that were written here, of which the watch may not have come that far."""

    async def read(self) -> None:
        """Read the keys once."""
        self.view = await self._read(self._wants_all(self.view))

    async def follow(self) -> None:
        """Keep the view up to date, and call `changed` after each change, until cancelled."""
        while True:
            wide = self._wants_all(self.view)
            self.view = await self._read(wide)
            self._written.clear()
            if self._wants_all(self.view) != wide:
                continue
            self._changed()
            scope = Range(self._root if wide else self._root + keys.CONTROL, prefix=True)
            async with self._etcd.watch(scope, self.view.revision) as watch:
                async for some in watch:
                    self._apply(some)
                    if self._wants_all(self.view) != wide:
                        break
                    self._changed()

    async def write(self, transaction: Transaction) -> bool:
        """Make a transaction. Returns False if it was not made: then the view has been read anew."""
        revision = await self._etcd.write(
            [self._compare(item) for item in transaction.compares],
            [self._operation(item) for item in transaction.writes],
        )
        if not revision:
            await self._read_again()
            return False
        changes = [_written(item, revision) for item in transaction.writes]
        self._written |= dict.fromkeys((item.key for item in changes), revision)
        self.view = self.view.after(changes, self.view.revision)
        return True

    def _wants_all(self, view: View) -> bool:
        return not self._host or is_steward(view, self._host)

    async def _read_again(self) -> None:
        """Read the keys as they are now, unless the watch is ahead of them by the time they arrive."""
        before = self.view
        found = await self._read(before.wide)
        while found.revision < self.view.revision and self.view.wide == before.wide:
            found = await self._read(before.wide)
        if self.view.wide == before.wide:  # or the watch has just read them
            self.view = found

    async def _read(self, wide: bool) -> View:
        if wide:
            parts = WIDE if self._host else PARTS
            ranges = [Range(self._root + part, prefix=True) for part in parts]
        else:
            own = (keys.slot(self._host), keys.host(self._host))
            ranges = [Range(self._root + keys.CONTROL, prefix=True), *(Range(self._root + key) for key in own)]
        found = await self._etcd.read(*ranges)
        size = len(self._root)
        changes = [Change(key[size:], item.value, item.revision) for key, item in found.items.items()]
        return View(wide=wide).after(changes, found.revision)

    def _apply(self, some: Sequence[store.Change]) -> None:
        """Apply what a watch reports, but for what is known already."""
        revision = some[-1].revision
        size = len(self._root)
        changes = (Change(item.key[size:], item.value, item.revision) for item in some)
        self.view = self.view.after(self._news(changes), revision)

    def _news(self, changes: Iterable[Change]) -> list[Change]:
        known = self.view.revision
        return [item for item in changes if item.revision > max(known, self._written.get(item.key, 0))]

    def _compare(self, item: Unchanged | NoneSince) -> store.Compare:
        if isinstance(item, NoneSince):
            return store.Compare(self._root + item.prefix, item.revision, prefix=True)
        return store.Compare(self._root + item.key, item.revision)

    def _operation(self, item: Put | Delete) -> store.Put | store.Delete:
        if isinstance(item, Delete):
            return store.Delete(self._root + item.key)
        return store.Put(self._root + item.key, item.value)


def _written(item: Put | Delete, revision: int) -> Change:
    return Change(item.key, None if isinstance(item, Delete) else item.value, revision)
