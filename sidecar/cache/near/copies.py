"""The copies of entries that a process keeps, and what makes them go: what the store pushes, and the process's writes.

Problem. A copy must not outlive what it is a copy of by more than its cache allows, although what is kept arrives in
one order and what puts it out of date in another. Between a read's reply and the moment at which its reader goes on,
a push may be taken in, and a write of this very process answered: what the reader holds then is old, and it does not
know.

Algorithm. A read that is to be kept is announced before it is sent (`begin`). Whatever puts its key out of date from
then on, a push or a write, spoils the announcement, and what comes of a spoilt one is not kept. A later read of the
same key is another announcement. So a copy is kept only if, since before its entry was read, nothing has been heard
against it; and whatever is heard later finds it.

A cache whose entries go out of date by generations has a key beside them that each read looks at too. When that one
changes, all copies of its cache are of the past: they are not looked for, the cache begins a new *era*, and copies of
an older one are passed over until they are looked at or make room.

How old a copy may be at most is `Tracking.confirmed`'s to say, not a copy's: see `store/tracking.py`. Whether it is
still fresh, its header's. Here it is only kept and dropped.

Rejected: a time to live for each copy, in place of pushes. It is a bound too, but each copy is read again every time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.near.sieve import Sieve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.near.store_share import StoreShare
    from sidecar.store.tracking import Tracking
    from sidecar.telemetry.metrics import Metrics


class Copy(NamedTuple):
    """A copy of an entry: what its header says, its value as stored, and its cache's era."""

    version: int
    written_us: int
    fresh_until_us: int
    value: bytes
    era: int


class Ticket:
    """An announcement of a read that is to be kept."""

    __slots__ = ("era", "readers", "spoilt")

    def __init__(self, era: int) -> None:
        self.era = era
        self.readers = 0
        self.spoilt = False


class Era:
    """The time of one cache's copies."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Copies:
    """All copies of a process, `max_bytes` of them."""

    def __init__(self, *, max_bytes: int, tracking: Tracking, share: StoreShare, metrics: Metrics) -> None:
        self.tracking = tracking
        self._share = share
        self._sieve: Sieve[Copy] = Sieve(max_bytes)
        self.items = self._sieve.items
        """To look into; who uses an item marks it, which `Uses.note` does."""
        self._tickets: dict[bytes, Ticket] = {}
        self._eras: dict[bytes, Era] = {}
        dropped = metrics.counter("sidecar_l1_dropped", "Copies that were given up, by cause.", "cause")
        self._changed = dropped.cell("changed")
        self._written = dropped.cell("written")
        self._expired = dropped.cell("expired")
        self._flushed = dropped.cell("flushed")
        self._lost = dropped.cell("connection_lost")
        self._evicted = dropped.cell("evicted")
        self._pushed = metrics.counter("sidecar_l1_pushes", "Keys of which the store said that they changed.").cell()
        metrics.gauge("sidecar_l1_entries", "Copies in the process.", lambda: {(): len(self._sieve)})
        metrics.gauge("sidecar_l1_bytes", "What the copies take in memory.", lambda: {(): self._sieve.bytes})
        metrics.gauge(
            "sidecar_l1_connected",
            "Whether the connection is there on which the store says what changes.",
            lambda: {(): int(tracking.connected)},
        )
        tracking.listen(self._hear)

    def era_of(self, generations_key: bytes) -> Era:
        """Return the era of the cache whose entries go out of date when that key changes."""
        return self._eras.setdefault(generations_key, Era())

    # --- what is kept ---

    def has_room(self) -> bool:
        """Say whether a copy is to be kept of what may be cold."""
        return self._share.part.cold and self._sieve.has_room()

    def begin(self, key: bytes, era: int) -> Ticket:
        """Announce a read of a key that is to be kept."""
        ticket = self._tickets.get(key)
        if ticket is None or ticket.era != era:
            ticket = self._tickets[key] = Ticket(era)
        ticket.readers += 1
        return ticket

    def end(self, key: bytes, ticket: Ticket) -> None:
        """End a read, whatever came of it."""
        ticket.readers -= 1
        if not ticket.readers and self._tickets.get(key) is ticket:
            del self._tickets[key]

    def keep(self, key: bytes, ticket: Ticket, copy: Copy) -> None:
        """Keep what a read brought, unless it is out of date; its reader has not been suspended since the reply."""
        if not ticket.spoilt:
            self._share.renew()
            self._sieve.max_items = self._share.part.copies
            before = self._sieve.evicted
            self._sieve.put(key, copy, len(copy.value))
            self._evicted.value += self._sieve.evicted - before

    # --- what goes ---

    def drop(self, key: bytes) -> None:
        """Give up the copy of what this process has written, and what is being read of it."""
        if self._gone(key):
            self._written.value += 1

    def expire(self, key: bytes) -> None:
        """Give up a copy that is no longer of use by itself."""
        if self._sieve.drop(key):
            self._expired.value += 1

    def _gone(self, key: bytes) -> bool:
        ticket = self._tickets.pop(key, None)
        if ticket is not None:
            ticket.spoilt = True
        return self._sieve.drop(key)

    def _hear(self, keys: Sequence[bytes] | None) -> None:
        """Take in what the store says of keys, or of all."""
        if keys is None:
            cell = self._flushed if self.tracking.connected else self._lost
            cell.value += self._sieve.clear()
            for ticket in self._tickets.values():
                ticket.spoilt = True
            self._tickets.clear()
            return
        self._pushed.value += len(keys)
        for key in keys:
            if self._gone(key):
                self._changed.value += 1
            elif key in self._eras:
                self._eras[key].number += 1
