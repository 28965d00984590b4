"""A transaction of etcd as a value: all comparisons hold, or nothing is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The mod_revision of `key` is still `revision`. It is 0 for a key that does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class NoneSince:
    """No key that begins with `prefix` was written after `revision` (etcd 3.3 and later: a comparison with a
    range_end, mod_revision < revision + 1, true for an empty range). Keys may have been deleted."""

    prefix: str
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """Keys are relative to `PREFIX/APP/`, see keys.py. No key is in `writes` twice (etcd refuses that)."""

    compares: tuple[Unchanged | NoneSince, ...]
    writes: tuple[Put | Delete, ...]
