"""How the entries of a write-behind cache lie in Redis, and what each operation sends for them.

They are as `formats.NativeFormat` has them, in their partition's slot. A write makes a change beside; a read asks for
what is pending as well, in the same trip.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sidecar.cache.entry import PACKED_MAGIC, decode_entry
from sidecar.cache.formats import NativeFormat
from sidecar.cache.policy import MISS, Outcome, judge
from sidecar.store import commands
from sidecar.store.base import Command, ScriptCall
from sidecar.store.keys import behind_partition
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.formats import Repeat
    from sidecar.cache.packing import Stored
    from sidecar.cache.policy import CachePolicy, Lookup
    from sidecar.cache.write_behind.policy import BehindPolicy
    from sidecar.store.base import Arg, Reply
    from sidecar.store.keys import BehindKeys, KeySpace

_SET, _DELETE, _LEASE = load("set_behind"), load("delete_behind"), load("lease_behind")
_KEY_SIZE = struct.Struct(">H")

# Whose value is pending asks again after so long: until then nothing newer can be anywhere but in this cache.
ANSWERS_MS = 1_000


class BehindFormat(NativeFormat):
    """Values behind a header, with changes beside them."""

    def __init__(self, policy: CachePolicy, behind: BehindPolicy, keys: KeySpace, max_unpacked_bytes: int) -> None:
        super().__init__(policy, keys, max_unpacked_bytes)
        self._policy = policy
        self._partitions = keys.behind(policy.name)
        self._coalesce = int(behind.coalesce)
        self._most = behind.most_in_partition

    def key(self, name: bytes) -> bytes:
        """Return the Redis key of an entry."""
        return self._of(name).entry_head + name

    def load_key(self, name: bytes) -> bytes:
        """Return the Redis key of who loads an entry."""
        return self._of(name).load_head + name

    def record_key(self, name: bytes, idempotency_key: str) -> bytes:
        """Return the Redis key of an idempotency record."""
        return self._of(name).record(name, idempotency_key)

    def keys(self, names: Sequence[bytes]) -> list[bytes]:
        """Return the Redis keys of entries."""
        return [self.key(name) for name in names]

    def reads(self, name: bytes) -> Sequence[Command]:
        """Return a GET of the entry and an HGET of what is pending."""
        partition = self._of(name)
        return commands.get(partition.entry_head + name), commands.hash_field(partition.pending, name)

    def lookup(self, replies: Sequence[Reply], now_us: int) -> Lookup:
        """Judge the entry; where it is not fresh what is pending counts, however old: nothing newer is anywhere."""
        pending = replies[1] if len(replies) > 1 else None
        found = super().lookup(replies[:1], now_us)
        if pending is None or found.outcome is Outcome.HIT:
            return found
        entry = decode_entry(entry_of(pending) or None, self._unpack)
        if entry is None:
            return MISS
        version, written_us, fresh_until_us, value = entry
        return judge((version, written_us, max(fresh_until_us, now_us + ANSWERS_MS * 1_000), value), now_us, 0)

    def set_behind(
        self, name: bytes, value: Stored, *, ttl_ms: int, condition: str, repeat: Repeat, origin_key: bytes
    ) -> ScriptCall:
        """Return the script that writes an entry and makes the change; `origin_key` is empty where it is the name."""
        content, packed = value
        args: tuple[Arg, ...] = (
            content, ttl_ms, self._kept_ms, condition, repeat.fingerprint, repeat.window_ms,
            name, origin_key, self._coalesce, self._most,
        )  # fmt: skip
        if packed:
            args = (*args, PACKED_MAGIC)
        return ScriptCall(_SET, self._keys_of_change(name, repeat), args, repeat.safe)

    def delete_behind(self, name: bytes, condition: str, repeat: Repeat, origin_key: bytes) -> ScriptCall:
        """Return the script that removes an entry and makes the change."""
        args: tuple[Arg, ...] = (
            condition, repeat.fingerprint, repeat.window_ms, name, origin_key, self._coalesce, self._most
        )  # fmt: skip
        return ScriptCall(_DELETE, self._keys_of_change(name, repeat), args, repeat.safe)

    def lease(self, name: bytes, token: str, lease_ms: int, also: str, instead_of: str) -> ScriptCall:
        """Return the script that gives the leave to load an entry, where nothing is pending; see `leases`."""
        keys = (self.key(name), self.load_key(name), self._of(name).pending)
        return ScriptCall(_LEASE, keys, (token, lease_ms, also, instead_of, name, ANSWERS_MS), False)

    def _of(self, name: bytes) -> BehindKeys:
        return self._partitions[behind_partition(name)]

    def _keys_of_change(self, name: bytes, repeat: Repeat) -> tuple[bytes, ...]:
        partition = self._of(name)
        return (
            partition.entry_head + name, repeat.record_key, partition.load_head + name,
            partition.pending, partition.stream, partition.taken, partition.owner,
        )  # fmt: skip


def entry_of(pending: bytes) -> bytes:
    """Return the entry of a pending change as it is stored; empty if the change removes it."""
    _, _, change = pending.partition(b" ")
    return split_change(change)[1]


def split_change(change: bytes) -> tuple[bytes, bytes]:
    """Return the origin's key, sealed or empty where it is the name, and the entry, empty where it is removed."""
    (size,) = _KEY_SIZE.unpack_from(change)
    end = _KEY_SIZE.size + size
    return change[_KEY_SIZE.size : end], change[end:]
