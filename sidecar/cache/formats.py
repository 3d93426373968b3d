"""The two ways a value can lie in Redis, and what each operation sends for it. Only building and reading; no waiting.

`NativeFormat` frames each value with a header (see `entry.py`): versions, age, stale time. `RawFormat` reads and writes
plain strings under a prefix, shared with programs that know nothing of the sidecar; it has neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.entry import PACKED_MAGIC, decode_entry
from sidecar.cache.lookups import judge_all
from sidecar.cache.packing import unpack, unpack_within
from sidecar.cache.policy import MISS, Counted, Lookup, Outcome, WriteOutcome, Written, judge
from sidecar.cache.request import ALWAYS, IF_ABSENT, IF_PRESENT
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store import commands, scripts
from sidecar.store.base import Command, ScriptCall
from sidecar.store.keys import ENTRY_TAIL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.packing import Stored
    from sidecar.cache.policy import CachePolicy, Found
    from sidecar.store.base import Arg, Reply
    from sidecar.store.keys import KeySpace
    from sidecar.store.plans import Room

# Beyond this a Lua number, a double, cannot tell neighbours apart.
_MAX_EXACT = 2**53 - 1
_FOR_EVER = -1


class Repeat(NamedTuple):
    """How a script tells a repeated request: where its record lies, and what it must have asked."""

    record_key: bytes
    fingerprint: bytes
    window_ms: int

    @property
    def safe(self) -> bool:
        """Whether the request may be sent twice."""
        return bool(self.fingerprint)


class NativeFormat:
    """Values behind a header."""

    def __init__(self, policy: CachePolicy, keys: KeySpace, max_unpacked_bytes: int) -> None:
        self._cache = policy.name
        self._stale_ms = policy.stale_for_ms
        self._kept_ms = policy.kept_ms
        self._max_unpacked_bytes = max_unpacked_bytes
        self._space = keys
        self._head = keys.entry_head(policy.name)
        self._load_head = keys.load_head(policy.name)
        self._set = scripts.load("set_entry")
        self._delete = scripts.load("delete_entry")
        self._touch = scripts.load("touch_entry")
        self._increment = scripts.load("increment_entry")
        self._forget = scripts.load("forget_entry")

    def key(self, name: bytes) -> bytes:
        """Return the Redis key of an entry."""
        return self._head + name + ENTRY_TAIL

    def load_key(self, name: bytes) -> bytes:
        """Return the Redis key of who loads an entry."""
        return self._load_head + name + ENTRY_TAIL

    def record_key(self, name: bytes, idempotency_key: str) -> bytes:
        """Return the Redis key of an idempotency record."""
        return self._space.idempotency(self._cache, name, idempotency_key)

    def reads(self, name: bytes) -> Sequence[Command]:
        """Return one GET (`commands.get`, without a call for each key of a batch)."""
        return (Command(("GET", self._head + name + ENTRY_TAIL), True),)

    def keys(self, names: Sequence[bytes]) -> list[bytes]:
        """Return the Redis keys of entries."""
        head = self._head
        return [head + name + ENTRY_TAIL for name in names]

    def lookups(self, replies: Sequence[Reply], now_us: int, room: Room) -> list[Found | SidecarError]:
        """Judge what a GET of each key returned; errors, also what `lookup` would raise, stand in their places."""
        return judge_all(
            replies, now_us, self._stale_ms, lambda packed: unpack_within(packed, self._max_unpacked_bytes, room)
        )

    def lookup(self, replies: Sequence[Reply], now_us: int) -> Lookup:
        """Judge the entry; raises `StoreError` (ENTRY_MALFORMED)."""
        return judge(decode_entry(replies[0], self._unpack), now_us, self._stale_ms)

    def _unpack(self, packed: bytes) -> bytes:
        return unpack(packed, self._max_unpacked_bytes)

    def set(self, key: bytes, value: Stored, ttl_ms: int, condition: str, repeat: Repeat) -> ScriptCall:
        """Return the script that writes an entry."""
        content, packed = value
        args: tuple[Arg, ...] = (content, ttl_ms, self._kept_ms, condition, repeat.fingerprint, repeat.window_ms)
        if packed:
            args = (*args, PACKED_MAGIC)
        return ScriptCall(self._set, self._keys_of_write(key, repeat), args, repeat.safe)

    def delete(self, key: bytes, condition: str, repeat: Repeat) -> ScriptCall:
        """Return the script that removes an entry."""
        args = (condition, repeat.fingerprint, repeat.window_ms)
        return ScriptCall(self._delete, self._keys_of_write(key, repeat), args, repeat.safe)

    def touch(self, key: bytes, ttl_ms: int, repeat: Repeat) -> ScriptCall:
        """Return the script that gives an entry a new TTL."""
        args = (ttl_ms, self._kept_ms, repeat.fingerprint, repeat.window_ms)
        return ScriptCall(self._touch, (key, repeat.record_key), args, repeat.safe)

    def increment(self, key: bytes, delta: int, initial: int, ttl_ms: int, repeat: Repeat) -> ScriptCall:
        """Return the script that adds to an entry; raises COUNTER_OUT_OF_RANGE for what a double cannot hold."""
        for field, number in (("delta", delta), ("initial", initial)):
            if abs(number) > _MAX_EXACT:
                raise InvalidArgumentError(
                    Reason.COUNTER_OUT_OF_RANGE, "a counter of this cache stays within +-(2^53-1)", field=field
                )
        args = (delta, initial, ttl_ms, self._kept_ms, repeat.fingerprint, repeat.window_ms)
        return ScriptCall(self._increment, self._keys_of_write(key, repeat), args, repeat.safe)

    def forget(self, name: bytes) -> ScriptCall:
        """Return the script that removes what lies under a name, a value or a record, from the cache alone."""
        return ScriptCall(self._forget, (self.key(name), self.load_key(name)), (), False)

    def _keys_of_write(self, key: bytes, repeat: Repeat) -> tuple[bytes, bytes, bytes]:
        return key, repeat.record_key, self._load_head + key[len(self._head) :]


class RawFormat:
    """Plain strings under a prefix."""

    def __init__(self, policy: CachePolicy, keys: KeySpace) -> None:
        self._cache = policy.name
        self._prefix = (policy.raw_prefix or "").encode()
        self._space = keys
        self._set = scripts.load("set_raw")
        self._delete = scripts.load("delete_raw")
        self._touch = scripts.load("touch_raw")
        self._increment = scripts.load("increment_raw")

    def key(self, name: bytes) -> bytes:
        """Return the prefix and the name."""
        return self._prefix + name

    def record_key(self, name: bytes, idempotency_key: str) -> bytes:
        """Return the Redis key of an idempotency record; raises UNSUPPORTED_BY_CACHE if none can share the slot."""
        key = self._space.raw_idempotency(self.key(name), idempotency_key)
        if key is None:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE,
                "an idempotency key cannot be used with a raw key that holds a '}' and no hash tag",
                field="idempotency_key",
            )
        return key

    def reads(self, name: bytes) -> Sequence[Command]:
        """Return GET and PTTL."""
        key = self.key(name)
        return commands.get(key), commands.pttl(key)

    def lookup(self, replies: Sequence[Reply], now_us: int) -> Lookup:  # noqa: ARG002 (a raw value has no times)
        """Return a hit for whatever string is there."""
        value, ttl_ms = replies
        if value is None:
            return MISS
        return Lookup(Outcome.HIT, value, ttl_ms=max(0, ttl_ms) if ttl_ms != _FOR_EVER else None)

    def set(self, key: bytes, value: Stored, ttl_ms: int, condition: str, repeat: Repeat) -> ScriptCall:
        """Return the script that writes a string."""
        self._refuse_version(condition)
        args: tuple[Arg, ...] = (value.content, ttl_ms, condition, repeat.fingerprint, repeat.window_ms)
        return ScriptCall(self._set, (key, repeat.record_key), args, repeat.safe)

    def delete(self, key: bytes, condition: str, repeat: Repeat) -> ScriptCall:
        """Return the script that removes a string."""
        self._refuse_version(condition)
        return ScriptCall(self._delete, (key, repeat.record_key), (repeat.fingerprint, repeat.window_ms), repeat.safe)

    def touch(self, key: bytes, ttl_ms: int, repeat: Repeat) -> ScriptCall:
        """Return the script that gives a string a new TTL."""
        args = (ttl_ms, repeat.fingerprint, repeat.window_ms)
        return ScriptCall(self._touch, (key, repeat.record_key), args, repeat.safe)

    def increment(self, key: bytes, delta: int, initial: int, ttl_ms: int, repeat: Repeat) -> ScriptCall:
        """Return the script that adds to a string."""
        args = (delta, initial, ttl_ms, repeat.fingerprint, repeat.window_ms)
        return ScriptCall(self._increment, (key, repeat.record_key), args, repeat.safe)

    def _refuse_version(self, condition: str) -> None:
        if condition not in {ALWAYS, IF_ABSENT, IF_PRESENT}:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE,
                f"cache {self._cache!r} has the format raw, which keeps no versions",
                field="condition",
            )


def written(reply: Reply) -> Written:
    """Read the answer of a script that writes: outcome, version, TTL."""
    outcome, version, ttl_ms = reply
    applied = outcome == WriteOutcome.APPLIED.value
    return Written(WriteOutcome(outcome), version, ttl_ms if applied else None, version if applied else 0)


def touched(reply: Reply) -> Written:
    """Read the answer of a script that gives a new TTL: as `written`, and the time unless the entry is raw.

    The record of a call may be one that an older sidecar has left, without the time.
    """
    outcome, version, ttl_ms, *at_us = reply
    applied = outcome == WriteOutcome.APPLIED.value
    return Written(WriteOutcome(outcome), version, ttl_ms if applied else None, at_us[0] if at_us else 0)


def removed(reply: Reply) -> Written:
    """Read the answer of a script that removes: the outcome and, unless the entry is raw or a record, the time."""
    return Written(WriteOutcome(reply[0]), at_us=reply[1] if len(reply) > 1 else 0)


def counted(reply: Reply) -> Counted:
    """Read the answer of a script that adds."""
    _, version, ttl_ms, total = reply
    return Counted(int(total), version, None if ttl_ms == _FOR_EVER else ttl_ms)
