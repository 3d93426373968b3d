"""What an origin has under a key, if it can be kept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.origin import OriginValue
from sidecar.origins.failures import bad_answer

if TYPE_CHECKING:
    from sidecar.errors import SidecarError


def kept(
    origin: str, value: bytes, *, max_value_bytes: int, ttl_ms: int | None = None, tags: tuple[str, ...] = ()
) -> OriginValue | SidecarError:
    """Return a value as caches take it, or why it cannot be kept."""
    if len(value) > max_value_bytes:
        return too_large(origin, max_value_bytes)
    if ttl_ms is not None and ttl_ms <= 0:
        return bad_answer(origin, "gives a TTL that is not positive")
    return OriginValue(value, ttl_ms, tags)


def too_large(origin: str, max_value_bytes: int) -> SidecarError:
    """Return the error for a value that is over the limit; how large it is may not be known."""
    return bad_answer(origin, f"has a value of more than {max_value_bytes} bytes (limits.max_value_bytes)")
