"""How the near cache treats one cache, and what a caller may ask of a read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sidecar.errors import InvalidArgumentError, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NearPolicy:
    """What of a cache is kept in the process, and for how long unasked."""

    max_staleness: float = 1.0
    """Seconds for which a copy may be served after the store was last heard of."""
    hot_only: bool = True
    """Whether copies are made of hot keys alone, and not of all that are read."""


class Freshness(NamedTuple):
    """How new the answer to a read must be."""

    max_staleness: float | None = None
    """Seconds for which it may be out of date; the cache's own bound if it is None."""
    after_us: int = 0
    """The moment of a write, by the store's clock, that it must know of; 0 for none."""


ANY = Freshness()
"""As new as the cache's policy has it."""

# The first character of a token says how to read the rest, so that there may be others.
_KIND = "1"
_HEX_DIGITS = frozenset("0123456789abcdef")
_TOKEN_CHARS = 1 + 16


def token_of(at_us: int) -> str:
    """Return what a reader may ask with to know of what was written at that moment of the store's clock."""
    return f"{_KIND}{at_us:016x}"


def moment_of(token: str, field: str = "token") -> int:
    """Return the moment in a token, 0 for an empty one; raises READ_TOKEN_MALFORMED."""
    if not token:
        return 0
    if len(token) != _TOKEN_CHARS or token[0] != _KIND or not _HEX_DIGITS.issuperset(token):
        raise InvalidArgumentError(Reason.READ_TOKEN_MALFORMED, "the token is none that a write answers", field=field)
    return int(token[1:], 16)


def checked_staleness(seconds: float, field: str = "max_staleness") -> float:
    """Return a caller's bound; raises STALENESS_NEGATIVE."""
    if seconds < 0:
        raise InvalidArgumentError(
            Reason.STALENESS_NEGATIVE, "no answer is newer than now: ask for 0 to have the store's", field=field
        )
    return seconds
