"""What a row of the comparison says: a server with one way of releasing, good releases and two bad ones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from tests.servers.reloads.capacity import Capacity
from tests.servers.result import Counted


@dataclass(frozen=True, slots=True)
class Harm:
    """What a bad release did until somebody returned to the one before, and how that went."""

    behaviour: str
    status: int
    """The exit status of the command that released it."""
    requests: int
    failed: int
    outcomes: dict[str, int]
    left: Capacity
    """At the end."""
    back_status: int
    """The exit status of the last command that returned; deployd has returned itself."""
    attempts: int
    """The number of commands that it took to return."""
    back_seconds: float
    """Until the last request failed after the first of these commands began; 0 if none did."""


@dataclass(frozen=True, slots=True)
class Row:
    """One server with one way of releasing."""

    way: str
    """The name of the way that the row belongs to; deployd's row has the same."""
    title: str
    version: str
    deployd: bool
    releases: int
    during: Counted
    gap: float
    """The longest time without an answer to a new or kept connection, in seconds."""
    seconds: float
    """A good release took on average, until its last old process had ended."""
    capacity: Capacity
    """During good releases."""
    crash: Harm
    errors: Harm
    settings: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The inverse of to_json."""
        harm = {name: Harm(**stored[name] | {"left": Capacity(**stored[name]["left"])}) for name in ("crash", "errors")}
        counted, capacity = Counted(**stored["during"]), Capacity(**stored["capacity"])
        return cls(**stored | harm | {"during": counted, "capacity": capacity})
