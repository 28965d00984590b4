"""How many method calls one user may have answered, over all of the user's connections. No clock, no bus."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Call = TypeVar("Call")

RATE, BURST = 25.0, 50.0
"""Calls a second, and how many at once after a pause."""
AT_ONCE = 24
"""Calls under way. Fewer than may wait for polkit: one user's password prompts leave room for those of others."""
WAITING = 40
"""Calls that wait for their turn."""
REFUSALS = 25.0
"""Refusals a second. A caller that gets no answer at all is soon refused by the bus itself."""


class Bucket:
    """Holds at most `size` tokens and gains `rate` of them a second."""

    def __init__(self, rate: float, size: float) -> None:
        self._rate, self._size = rate, size
        self._tokens, self._at = size, 0.0

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take so many tokens, if they are there."""
        if self.wait(now, tokens) > 0:
            return False
        self._tokens -= tokens
        return True

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Seconds until there are so many tokens."""
        self._tokens = min(self._size, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        return max(0.0, (tokens - self._tokens) / self._rate)


class Allowance(Generic[Call]):
    """The calls of one user: those under way, those that wait, and no more."""

    def __init__(self) -> None:
        self._calls = Bucket(RATE, BURST)
        self._refusals = Bucket(REFUSALS, REFUSALS)
        self._waiting: deque[tuple[Call, float]] = deque()
        self._running = 0

    @property
    def full(self) -> bool:
        """True if no more may wait."""
        return len(self._waiting) >= WAITING

    def offer(self, call: Call, tokens: float = 1.0) -> None:
        """Let a call that counts for so many wait for its turn, unless it is full."""
        self._waiting.append((call, tokens))

    def take(self, now: float) -> Call | None:
        """The call whose turn it is now; it is under way until `ended`."""
        if not self._waiting or self._running >= AT_ONCE or not self._calls.take(now, self._waiting[0][1]):
            return None
        self._running += 1
        return self._waiting.popleft()[0]

    def ended(self) -> None:
        """One that was under way is answered."""
        self._running -= 1

    def wait(self, now: float) -> float | None:
        """Seconds until `take` is worth asking again; None if only a new call or an end can change its answer."""
        if not self._waiting or self._running >= AT_ONCE:
            return None
        return self._calls.wait(now, self._waiting[0][1])

    def may_refuse(self, now: float) -> bool:
        """True if one more refusal may be sent."""
        return self._refusals.take(now)
