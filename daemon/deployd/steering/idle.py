"""In place of steering where nothing is to be had: a daemon that came back with fewer privileges than it had.

What an earlier daemon attached goes on by its last table, and the kernel hashes among whoever is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployd.steering.diag import Listener
from deployd.steering.table import Table


class Idle:
    """The surface of `Steering`, and nothing done."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        """Why, for people."""
        self.table = Table()
        self.fds: Mapping[str, int] = {}

    def set(self, table: Table) -> None:
        self.table = table

    def sync(self, listeners: Mapping[int, Sequence[Listener]]) -> frozenset[int]:  # noqa: ARG002
        return frozenset()

    def counters(self) -> dict[int, int]:
        return {}

    def close(self) -> None:
        pass
