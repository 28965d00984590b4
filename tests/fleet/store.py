"""etcd in memory: keys with revisions, transactions with comparisons, and the log from which watches are served."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from deployd_cli.fleet.keys import CONTROL
from deployd_cli.fleet.transaction import NoneSince, Put, Transaction, Unchanged
from deployd_cli.fleet.view import Change, View

Check = Callable[["Store", Transaction], None]


@dataclass(slots=True)
class Store:
    """Revisions grow by one with each transaction that writes, as in etcd."""

    revision: int = 1
    keys: dict[str, Change] = field(default_factory=dict)
    folders: dict[str, dict[str, Change]] = field(default_factory=dict)
    """The same by all of the key up to its last slash, which is all that comparisons of a prefix need."""
    log: list[Change] = field(default_factory=list)
    writes: int = 0
    """Transactions that were applied."""

    def holds(self, compare: Unchanged | NoneSince) -> bool:
        if isinstance(compare, Unchanged):
            return self.revision_of(compare.key) == compare.revision
        return all(item.revision <= compare.revision for item in self.folders.get(compare.prefix, {}).values())

    def revision_of(self, key: str) -> int:
        known = self.keys.get(key)
        return known.revision if known is not None else 0

    def apply(self, transaction: Transaction, check: Check | None = None) -> bool:
        """Return whether all comparisons hold, and write if they do. `check` is called before that."""
        names = [item.key for item in transaction.writes]
        assert len(names) == len(set(names)), "etcd refuses a transaction that writes a key twice"
        if not all(self.holds(item) for item in transaction.compares):
            return False
        if check is not None:
            check(self, transaction)
        self.revision += 1
        self.writes += 1
        for item in transaction.writes:
            change = Change(item.key, item.value if isinstance(item, Put) else None, self.revision)
            self.log.append(change)
            folder = self.folders.setdefault(item.key[: item.key.rfind("/") + 1], {})
            for known in (self.keys, folder):
                if change.value is None:
                    known.pop(item.key, None)
                else:
                    known[item.key] = change
        return True

    def between(self, old: int, new: int) -> list[Change]:
        """Return the events after one revision, up to another one."""
        first, last = (bisect_right(self.log, at, key=lambda item: item.revision) for at in (old, new))
        return self.log[first:last]

    def everything(self) -> View:
        """Return all keys, as a range request does."""
        return View(wide=True).after(self.keys.values(), self.revision)

    def narrow(self, host: str) -> View:
        """Return what a host that is no steward reads."""
        return View().after([item for item in self.keys.values() if watched(item, host)], self.revision)


def watched(change: Change, host: str) -> bool:
    return change.key.startswith(CONTROL) or own(change, host)


def own(change: Change, host: str) -> bool:
    return change.key in (f"slots/{host}", f"hosts/{host}")
