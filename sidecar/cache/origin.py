"""Where the values of a cache come from and, in some strategies, go to.

An origin is asked for many keys at once, and answers for each: a failure of one is none of the others'. It bounds what
it does by the call's deadline and by limits of its own, and says with one of the reasons `ORIGIN_...` why it could not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from sidecar.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.call import Call
    from sidecar.errors import SidecarError

# An origin's answer may be on its way when its time is over; of a short time that much less.
_BACKSTOP_SECONDS = 0.1


def backstop(seconds: float) -> float:
    """Return after how many seconds to give up an origin whose call has so many.

    Somewhat later: an origin ends by its call's deadline by itself, and then says of each key how it stands, and learns
    of itself that it is slow. Who gives up at the same moment has neither.
    """
    return seconds + min(_BACKSTOP_SECONDS, seconds / 10)


def blames_configuration(error: SidecarError) -> bool:
    """Say whether an origin is there and cannot do what it was asked as it, or its cache, is configured.

    It then ends with ORIGIN_UNAVAILABLE, and tells what is wrong by a code of its own.
    """
    return error.reason is Reason.ORIGIN_UNAVAILABLE and "code" in error.metadata


class OriginValue(NamedTuple):
    """What an origin has under a key."""

    value: bytes
    ttl_ms: int | None = None
    """For how long it may be cached; the cache's own TTL if it is None."""
    tags: tuple[str, ...] = ()


class Change(NamedTuple):
    """One value that an origin is to store, or to remove."""

    key: str
    value: bytes | None
    """None removes the key."""
    token: str = ""
    """The same whenever the same change is sent again, and of no other change; empty for one that is sent once."""


class Origin(Protocol):
    """Where the values of one cache are at home."""

    @property
    def name(self) -> str:
        """The name that the configuration gives the origin."""
        ...

    @property
    def stores(self) -> bool:
        """Whether it can be given values, and not only be asked for them."""
        ...

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:
        """Return what there is under each of some keys, in their order; None for nothing."""
        ...

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes, those of the same key in their order; return for each why it was not made, or None.

        ORIGIN_REFUSED says that it never will be, ORIGIN_OUTCOME_UNKNOWN that it may have been.
        """
        ...
