"""Concurrency: so many slots, leased; as pure functions over plain data, which the scripts equal step by step.

A caller who may die cannot be trusted to give back what it took. So a slot is not taken but leased: its holder renews
the lease while it works and releases it when it is done, and what nobody renews is free again when the lease ends. At
any time the leases that have not ended hold at most `limit` slots together, by the store's clock alone.

**Tokens.** A lease is named by an id, which the sidecar draws at random, or derives from the name that a caller gave
itself. A token is the id and the number of slots, so that a lease is found by its token alone and what it holds needs
no second look-up. Only who knows the token can renew or release. A named caller that acquires again gets its lease
back, renewed: so its Acquire may be repeated. Asked for another number of slots, its lease stays as it is, and it is
told.

**Time.** A lease that ends now has ended. It is dropped by the next call that may write, and until then counts no
more. A renewal never brings the end nearer, so that a late copy of an old one does no harm. What has ended is not
renewed: its slots may be another's by now, and only a new Acquire can tell.

When the clock goes back, leases would last longer by as much. So the longest lease that was asked for is kept with
them, and no end is further away than that: after a jump each holder has at least the time that it was promised, and
nobody waits for the others longer than the longest lease. That is why a policy's bound is not used for it: a lease
from before the bound was lowered would then end early. When the clock goes forward, leases end early by the jump;
nothing in the store can tell that from time that has passed.

**A changed policy** finds the leases of the old one. With a lower limit all are kept, and none is given until enough
have ended. Two sidecars with different policies, as in a rolling update, see each other's leases, each by its own
limit.

**The store** holds all leases of a key in one sorted set (`sidecar/store/lua/includes/leases.lua`). With a second key
for the sum or the sizes, eviction could take one without the other, and the limit would be wrong until the leases
end. One string with all leases in it would be simpler, but each call would read and write all of it, which at ten
thousand leases is half a megabyte. A call costs a few commands of logarithmic time; only what has ended is dropped
one by one, once. The key's TTL runs until the last lease ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_CHARS = 23
NAMED = "h"
"""What the id of a caller that named itself begins with; a random one begins with RANDOM."""
RANDOM = "r"

AnswerT = TypeVar("AnswerT")


class Lease(NamedTuple):
    """Some slots and when they come free."""

    slots: int
    ends_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """What is stored under a key."""

    longest_us: int
    """The longest lease that was asked for since there were none."""
    by_id: Mapping[str, Lease]

    @property
    def used(self) -> int:
        """The slots of all leases together."""
        return sum(lease.slots for lease in self.by_id.values())


class Step(NamedTuple, Generic[AnswerT]):
    """An answer and what is stored after it."""

    answer: AnswerT
    state: Leases | None
    """None: no key."""
    ttl_ms: int | None
    """The TTL that is set with the state; None: nothing is written, or the key is removed."""


class Verdict(IntEnum):
    """What became of an Acquire; the values are the script's."""

    REFUSED = 0
    LEASED = 1
    OTHER_SIZE = 2
    """The caller of that name has a lease of another number of slots."""


class Leased(NamedTuple):
    """What a caller who wants slots gets to know."""

    verdict: Verdict
    in_use: int
    expires_after_us: int
    """How long the lease lasts; 0 if there is none."""
    retry_after_us: int
    """How long until so many slots are free if nobody releases or renews; 0 if not refused."""


class Renewed(NamedTuple):
    """What a holder gets to know."""

    renewed: bool
    expires_after_us: int


class Released(NamedTuple):
    """What a former holder gets to know."""

    released: bool
    in_use: int


class Room(NamedTuple):
    """What an onlooker gets to know."""

    free_now: bool
    free: int
    retry_after_us: int
    reset_after_us: int
    """How long until all is free if nobody releases or renews."""


def token_of(lease_id: str, slots: int) -> str:
    """Return the token of a lease."""
    return f"{lease_id}.{slots}"


def acquire(limit: int, state: Leases | None, now_us: int, lease_id: str, *, slots: int, lease_us: int) -> Step[Leased]:
    """Lease `slots` (1 to the limit) for `lease_us`, or to a named caller what it has."""
    kept, ttl_ms = tidied(state, now_us)
    used = kept.used if kept else 0
    held = kept.by_id.get(lease_id) if kept else None
    if held is not None and held.slots != slots:
        return Step(Leased(Verdict.OTHER_SIZE, used, 0, 0), kept, ttl_ms)
    if kept is not None and held is None and used + slots > limit:
        wait_us = _room_after_us(kept, now_us, used + slots - limit)
        return Step(Leased(Verdict.REFUSED, used, 0, wait_us), kept, ttl_ms)
    ends_us = max(now_us + lease_us, held.ends_us if held else 0)
    after = with_lease(kept, lease_id, Lease(slots, ends_us), lease_us)
    return Step(Leased(Verdict.LEASED, after.used, ends_us - now_us, 0), after, ttl_ms_of(after, now_us))


def renew(state: Leases | None, now_us: int, lease_id: str, *, slots: int, lease_us: int) -> Step[Renewed]:
    """Let a lease last for `lease_us` from now, or as long as it does anyway."""
    kept, ttl_ms = tidied(state, now_us)
    held = kept.by_id.get(lease_id) if kept else None
    if held is None or held.slots != slots:
        return Step(Renewed(False, 0), kept, ttl_ms)
    ends_us = max(now_us + lease_us, held.ends_us)
    after = with_lease(kept, lease_id, Lease(slots, ends_us), lease_us)
    return Step(Renewed(True, ends_us - now_us), after, ttl_ms_of(after, now_us))


def release(state: Leases | None, now_us: int, lease_id: str, *, slots: int) -> Step[Released]:
    """Give a lease's slots back."""
    kept, ttl_ms = tidied(state, now_us)
    held = kept.by_id.get(lease_id) if kept else None
    if kept is None or held is None or held.slots != slots:
        return Step(Released(False, kept.used if kept else 0), kept, ttl_ms)
    after = without(kept, lease_id)
    return Step(Released(True, after.used if after else 0), after, ttl_ms_of(after, now_us) if after else None)


def peek(limit: int, state: Leases | None, now_us: int, *, slots: int) -> Step[Room]:
    """Say what `acquire` would; nothing is written."""
    kept, _ = tidied(state, now_us)
    if kept is None:
        return Step(Room(True, limit, 0, 0), state, None)
    missing = kept.used + slots - limit
    retry_after_us = _room_after_us(kept, now_us, missing) if slots > 0 and missing > 0 else 0
    reset_after_us = max(lease.ends_us for lease in kept.by_id.values()) - now_us
    room = Room(retry_after_us == 0, max(0, limit - kept.used), retry_after_us, reset_after_us)
    return Step(room, state, None)


def tidied(state: Leases | None, now_us: int) -> tuple[Leases | None, int | None]:
    """Return what counts now, with no end further away than it can be, and the TTL if that is to be written."""
    if state is None:
        return None, None
    furthest_us = now_us + state.longest_us
    by_id = {
        name: Lease(lease.slots, min(lease.ends_us, furthest_us))
        for name, lease in state.by_id.items()
        if lease.ends_us > now_us
    }
    if by_id == state.by_id:
        return state, None
    kept = _those(state, by_id)
    return kept, ttl_ms_of(kept, now_us) if kept else None


def without(state: Leases, lease_id: str) -> Leases | None:
    """Return the leases but one; None for no key."""
    return _those(state, {name: lease for name, lease in state.by_id.items() if name != lease_id})


def _those(state: Leases, by_id: Mapping[str, Lease]) -> Leases | None:
    return Leases(longest_us=state.longest_us, by_id=by_id) if by_id else None


def with_lease(state: Leases | None, lease_id: str, lease: Lease, asked_us: int) -> Leases:
    """Return the leases and one more, or another in its place, that was asked for so long."""
    longest_us = max(asked_us, state.longest_us if state else 0)
    return Leases(longest_us=longest_us, by_id={**(state.by_id if state else {}), lease_id: lease})


def _room_after_us(leases: Leases, now_us: int, missing: int) -> int:
    """Return how long until `missing` slots more have come free."""
    for slots, ends_us in sorted(leases.by_id.values(), key=lambda lease: lease.ends_us):
        missing -= slots
        if missing <= 0:
            return ends_us - now_us
    return 0


def ttl_ms_of(leases: Leases, now_us: int) -> int:
    """Return the TTL of a key with these leases: until the last of them ends."""
    last_us = max(lease.ends_us for lease in leases.by_id.values())
    return -(-(last_us - now_us) // 1_000)
