"""Keys that make a write safe to repeat.

The sidecar records a write's idempotency key in the same atomic step as the write. A repeated call with the same key
has no second effect and gets the first one's answer, for as long as `limits.idempotency_window` lasts. With a key,
this client repeats a failed write by itself; without one it never does.
"""

from __future__ import annotations

import secrets
from typing import NewType

IdempotencyKey = NewType("IdempotencyKey", str)
"""1 to 128 bytes of UTF-8, unique to one intended effect."""

# 128 random bits: as many as a UUID carries at most, so that two callers never meet.
_RANDOM_BYTES = 16


def new_idempotency_key() -> IdempotencyKey:
    """Return a fresh key. Make it before the first attempt and use it in all of them."""
    return IdempotencyKey(secrets.token_urlsafe(_RANDOM_BYTES))
