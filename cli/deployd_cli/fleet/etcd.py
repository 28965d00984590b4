"""The few operations of etcd that a fleet needs: consistent reads, transactions, watches, leases.

Keys and values are text. Every item has its mod_revision, the revision of the cluster at which it was last written:
transactions compare it, and that of a goal is its token (etcd.io/docs, "etcd API").
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from deployd_cli.fleet.gateway import Access, EtcdUnavailable, Gateway, Json

HEARTBEAT = 10.0
"""Seconds between two requests to the member that is watched."""


@dataclass(frozen=True, slots=True)
class Item:
    """The value of a key."""

    value: str
    revision: int
    """Its mod_revision."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Keys as they were at one revision."""

    revision: int
    items: Mapping[str, Item]


@dataclass(frozen=True, slots=True)
class Change:
    """A key that was written, or deleted: then `value` is None."""

    key: str
    value: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class Range:
    """A key, or with `prefix` all keys that begin with it."""

    key: str
    prefix: bool = False

    @property
    def fields(self) -> Json:
        """The fields of a request that select these keys."""
        if not self.prefix:
            return {"key": _encoded(self.key)}
        raw = self.key.encode()
        return {"key": _encoded(self.key), "range_end": b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()}


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key, below a lease if it is not 0."""

    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key."""

    key: str


@dataclass(frozen=True, slots=True)
class Compare:
    """True if the key was last written at this revision; 0 if there is no such key.

    With `prefix`, true if no key that begins with `key` was written after this revision; keys may have been deleted.
    """

    key: str
    revision: int
    prefix: bool = False


class Etcd:
    """A client of one cluster. Raises EtcdUnavailable and EtcdRefused."""

    def __init__(self, access: Access) -> None:
        self._gateway = Gateway(access)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._gateway.__aexit__(kind, error, trace)

    @property
    def member(self) -> str:
        """The endpoint that has answered last."""
        return self._gateway.member

    async def read(self, *ranges: Range) -> Snapshot:
        """Return the keys in all of these ranges, as they were at one moment after the call began."""
        body = {"success": [{"request_range": item.fields} for item in ranges]}
        answer = await self._gateway.call("kv/txn", body, repeat=True)
        found = (row for item in answer.get("responses", ()) for row in item["response_range"].get("kvs", ()))
        return Snapshot(_revision(answer), dict(map(_item, found)))

    async def write(self, compares: Sequence[Compare], changes: Sequence[Put | Delete]) -> int:
        """Make all changes at once if all comparisons are true. Returns their revision, 0 if one was false.

        Raises OutcomeUnknown if the changes may have been made.
        """
        body = {"compare": [_compare(item) for item in compares], "success": [_operation(item) for item in changes]}
        answer = await self._gateway.call("kv/txn", body, repeat=False)
        return _revision(answer) if answer.get("succeeded") else 0

    @asynccontextmanager
    async def watch(self, range_: Range, after: int) -> AsyncGenerator[AsyncIterator[Sequence[Change]], None]:
        """Open a stream of what changes after a revision, in the order of revisions, all of one revision together."""
        request = {**range_.fields, "start_revision": str(after + 1), "progress_notify": True}
        async with self._gateway.stream("watch", {"create_request": request}) as results:
            yield _changes(results)

    async def grant(self, seconds: int) -> int:
        """Create a lease. Returns its ID."""
        answer = await self._gateway.call("lease/grant", {"TTL": str(seconds)}, repeat=True)
        return int(answer["ID"])

    async def keep_alive(self, lease: int) -> bool:
        """Renew a lease once. Returns False if it has expired."""
        answer = await self._gateway.call("lease/keepalive", {"ID": str(lease)}, repeat=True)
        return int(answer.get("result", {}).get("TTL", 0)) > 0


async def _changes(results: AsyncIterator[Json]) -> AsyncIterator[Sequence[Change]]:
    async for result in results:
        if result.get("canceled"):
            reason = result.get("cancel_reason") or "the revisions that it would begin with are compacted"
            raise EtcdUnavailable(f"etcd ended a watch: {reason}")
        if events := result.get("events"):
            yield [_change(event) for event in events]
    raise EtcdUnavailable("etcd ended a watch")


def _change(event: Json) -> Change:
    key, item = _item(event["kv"])
    return Change(key, None if event.get("type") == "DELETE" else item.value, item.revision)


def _item(row: Mapping[str, Any]) -> tuple[str, Item]:
    """Return the key and the item of a row. Fields with their default value are left out by the gateway."""
    return _decoded(row["key"]), Item(_decoded(row.get("value", "")), int(row.get("mod_revision", 0)))


def _revision(answer: Json) -> int:
    return int(answer["header"]["revision"])


def _compare(item: Compare) -> Json:
    if item.prefix:  # true for an empty range
        until = {"result": "LESS", "mod_revision": str(item.revision + 1)}
        return {**Range(item.key, prefix=True).fields, "target": "MOD", **until}
    return {"key": _encoded(item.key), "target": "MOD", "result": "EQUAL", "mod_revision": str(item.revision)}


def _operation(item: Put | Delete) -> Json:
    if isinstance(item, Delete):
        return {"request_delete_range": {"key": _encoded(item.key)}}
    lease = {"lease": str(item.lease)} if item.lease else {}
    return {"request_put": {"key": _encoded(item.key), "value": _encoded(item.value), **lease}}


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return b64decode(text).decode(errors="replace")
