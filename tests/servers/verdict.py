"""What the tests demand of a row."""

from __future__ import annotations

from tests.servers.page import text
from tests.servers.result import Row


def harmless(row: Row) -> None:
    """Fail unless all requests have succeeded and all bad releases were stopped."""
    assert row.during.requests > 100, text([row])
    assert not row.failed, text([row])
    assert all(bad.stopped for bad in row.bad), text([row])
