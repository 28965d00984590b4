"""Limits the method calls of one user, over all connections of that user. Uses neither a clock nor the bus."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Call = TypeVar("Call")

RATE, BURST = 25.0, 50.0
"""Calls per second, and the burst allowed after a pause."""
AT_ONCE = 24
"""Calls in progress. Fewer than may wait for polkit, so that one user's password prompts leave room for others'."""
WAITING = 40
"""Queued calls."""
REFUSALS = 25.0
"""Error replies per second. A caller that gets no reply at all soon hits the limits of the bus itself."""


class Bucket:
    """A token bucket of at most `size` tokens that gains `rate` tokens per second."""

    def __init__(self, rate: float, size: float) -> None:
        self._rate, self._size = rate, size
        self._tokens, self._at = size, 0.0

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take `tokens` tokens; False, taking none, if there are fewer."""
        if self.wait(now, tokens) > 0:
            return False
        self._tokens -= tokens
        return True

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until there are `tokens` tokens."""
        self._tokens = min(self._size, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        return max(0.0, (tokens - self._tokens) / self._rate)


class Allowance(Generic[Call]):
    """The calls of one user that are in progress or queued."""

    def __init__(self) -> None:
        self._calls = Bucket(RATE, BURST)
        self._refusals = Bucket(REFUSALS, REFUSALS)
        self._waiting: deque[tuple[Call, float]] = deque()
        self._running = 0

    @property
    def full(self) -> bool:
        """True if the queue is full."""
        return len(self._waiting) >= WAITING

    def offer(self, call: Call, tokens: float = 1.0) -> None:
        """Queue a call that costs `tokens` tokens. Check `full` first."""
        self._waiting.append((call, tokens))

    def take(self, now: float) -> Call | None:
        """Return the next call that may begin now; it is in progress until `ended` is called."""
        if not self._waiting or self._running >= AT_ONCE or not self._calls.take(now, self._waiting[0][1]):
            return None
        self._running += 1
        return self._waiting.popleft()[0]

    def ended(self) -> None:
        """Record that a call in progress has been answered."""
        self._running -= 1

    def wait(self, now: float) -> float | None:
        """Return the seconds until `take` may return a call; None if only a new or an ended call can change that."""
        if not self._waiting or self._running >= AT_ONCE:
            return None
        return self._calls.wait(now, self._waiting[0][1])

    def may_refuse(self, now: float) -> bool:
        """True if one more error reply may be sent; counts it."""
        return self._refusals.take(now)
