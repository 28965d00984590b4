"""Takes the place of Steering for an app that was deployed as a steered one, on a machine that cannot steer it now.

The daemon may have lost its privileges, or an older kernel was booted. A program that an earlier daemon attached keeps
deciding by its last table. Without a program, or when all its listeners are gone, the kernel selects by hash.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from deployd.errors import SteeringError
from deployd.model.steering import Load
from deployd.reuseport.probes import Aimed, Make, new
from deployd.reuseport.table import Table
from deployd.sockdiag.inet_diag import Listener


class Idle:
    """Has the methods of `Steering`, and does nothing."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        """Why the app cannot be steered, as a sentence for users."""
        self.in_turn = ""
        self.outdated = False
        self.table = Table()
        self.fds: Mapping[str, int] = {}

    def set(self, table: Table) -> None:
        self.table = table

    def sync(self, listeners: Mapping[int, Sequence[Listener]]) -> frozenset[int]:  # noqa: ARG002
        return frozenset()

    def loads(self) -> dict[int, Load]:
        return {}

    def counters(self) -> dict[int, int]:
        return {}

    def counter(self, instance: int) -> int:  # noqa: ARG002
        return 0

    def recount(self, live: Callable[[], Collection[int]]) -> int:  # noqa: ARG002
        return 0

    def aim(self, instance: int, timeout: float, make: Make = new) -> AbstractContextManager[Aimed]:  # noqa: ARG002
        raise SteeringError(f"instance {instance} cannot be chosen: {self.reason}")

    def close(self) -> None:
        pass
