"""What is common to the requests that a cache takes: checking them, and telling repeats from new ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.cache.policy import DataClass
from sidecar.errors import InvalidArgumentError, Reason, SidecarError

if TYPE_CHECKING:
    from sidecar.cache.policy import CachePolicy
    from sidecar.store.base import Arg

# 128 bytes hold a UUID, a ULID or a digest with a prefix; the record's key holds only a hash of it.
_MAX_IDEMPOTENCY_KEY_BYTES = 128
_FINGERPRINT_BYTES = 16

# What a script gets as its condition.
IF_ABSENT = "absent"
IF_PRESENT = "present"
ALWAYS = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """What a caller may ask of any write."""

    ttl_ms: int | None = None
    condition: str = ALWAYS
    """`ALWAYS`, `IF_ABSENT`, `IF_PRESENT`, or a version in decimal."""
    idempotency_key: str = ""
    tags: tuple[str, ...] = ()


def check_size(size: int, most: int, field: str) -> None:
    """Raise VALUE_TOO_LARGE if a value of `size` bytes is over the limit."""
    if size > most:
        raise InvalidArgumentError(
            Reason.VALUE_TOO_LARGE,
            f"the value has {size} bytes; at most {most} are allowed (max_value_bytes of the cache, or of limits)",
            field=field,
            metadata={"max_bytes": str(most), "actual_bytes": str(size)},
        )


def check_batch(size: int, most: int, field: str) -> None:
    """Raise BATCH_SIZE if a batch of `size` items is empty or too long."""
    if not 0 < size <= most:
        raise InvalidArgumentError(
            Reason.BATCH_SIZE,
            f"a batch holds 1 to {most} items (limits.max_batch_keys); this one has {size}",
            field=field,
            metadata={"max_keys": str(most)},
        )


def check_idempotency_key(key: str) -> None:
    """Raise IDEMPOTENCY_KEY_TOO_LONG if it is."""
    if len(key.encode()) > _MAX_IDEMPOTENCY_KEY_BYTES:
        raise InvalidArgumentError(
            Reason.IDEMPOTENCY_KEY_TOO_LONG,
            f"an idempotency key has at most {_MAX_IDEMPOTENCY_KEY_BYTES} bytes",
            field="idempotency_key",
        )


def refuse_if_absent(condition: str) -> None:
    """Raise CONDITION_EMPTY for a change or removal of what must not be there."""
    if condition == IF_ABSENT:
        raise InvalidArgumentError(
            Reason.CONDITION_EMPTY, "if_absent makes no sense here: there would be nothing to change", field="condition"
        )


def refuse_longer_life(policy: CachePolicy) -> None:
    """Raise UNSUPPORTED_BY_CACHE for a new TTL of what is sealed.

    The bound of a PHI cache is one on how long data lives after it was written, and the key that opens it lives no
    longer.
    """
    if policy.data_class is DataClass.PHI:
        raise SidecarError(
            Reason.UNSUPPORTED_BY_CACHE,
            f"cache {policy.name!r} holds PHI, whose life is not prolonged: write it anew",
            field="ttl",
        )


def refuse_behind(policy: CachePolicy, what: str, field: str) -> None:
    """Raise UNSUPPORTED_BY_CACHE for what cannot be told an origin."""
    if policy.behind is not None:
        raise SidecarError(Reason.UNSUPPORTED_BY_CACHE, f"cache {policy.name!r} is write-behind: {what}", field=field)


def fingerprint(*parts: Arg | None) -> bytes:
    """Return 16 bytes that two requests share only if they ask for the same."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(b"%d:%d:" % (isinstance(part, bytes), len(encoded)))
        digest.update(encoded)
    return digest.digest()[:_FINGERPRINT_BYTES]
