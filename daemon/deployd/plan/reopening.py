"""When a socket that was closed while its app is up is opened again. Pure. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

SETTLE = 1.0
"""Until the first attempt: `systemctl stop NAME.socket NAME.service` and a restart of the socket are two requests."""

LONGEST = 30.0
"""Between two attempts: systemd does not signal that an address has become free."""


@dataclass(frozen=True, slots=True)
class Reopening:
    """The attempts since sockets were found closed."""

    next_at: float | None = None
    """When the next attempt is due, or None while all sockets are open."""
    failures: int = 0

    def observed(self, now: float, *, closed: bool) -> Reopening:
        """Return the attempts after sockets were observed: some are `closed` although the app is up, or none is."""
        if not closed:
            return Reopening()
        return self if self.next_at is not None else Reopening(now + SETTLE)

    def failed(self, now: float) -> Reopening:
        """Return the attempts after one that failed."""
        failures = min(self.failures + 1, 10)  # avoids an overflow
        return replace(self, next_at=now + min(LONGEST, SETTLE * 2.0**failures), failures=failures)

    def is_due(self, now: float) -> bool:
        """True if it is time for an attempt."""
        return self.next_at is not None and now >= self.next_at
