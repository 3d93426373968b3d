"""How often a peer may do what honest peers seldom do: a token bucket, in plain arithmetic."""

from __future__ import annotations


class Allowance:
    """So many at once, and so many in each second after."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = burst
        self._at = 0.0

    def earn(self, count: float) -> None:
        """Give some back, up to as many as there are at once."""
        self._left = min(self._burst, self._left + count)

    def spend(self, now: float) -> bool:
        """Take one, `now` in seconds; False if none is left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
